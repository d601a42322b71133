"""Copies that Copier makes of this repository: each runs lint and its tests; later fixes reach it."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from scripts.settings import PROJECT
from tests.dockerignore import is_ignored

pytestmark = pytest.mark.end_to_end

COPIER = Path(sys.executable).with_name("copier")
RUNTIME = Path(sys.executable).parents[2] / "environments" / "astro_runtime"
# What a part that was declined leaves no trace of.
NAMES = {
    "keep_local_dbt_cloud": r"local.dbt.cloud|make run|make start|\bscripts/|docker-compose",
    "keep_github_workflows": r"\.github|ASTRO_API_TOKEN",
}
# The tests' own settings ask whether the pytest plugin is there; ignoring absent folders does no harm.
MAY_NAME = {"tests/conftest.py", ".gitignore", ".dockerignore", ".copier-answers.yml", "tests/test_image.py"}
OURS = {"dev", "docs", ".ci", "copier.yml", "CONTRIBUTING.md", "CHANGELOG.md", "AGENTS.md", "LICENSE"}


def environment() -> dict[str, str]:
    """Return the environment without what this test run's make, Airflow and virtual environment set."""
    others = (
        "AIRFLOW",
        "LOCAL_DBT_CLOUD_",
        "MAKE",
        "MFLAGS",
        "VIRTUAL_ENV",
        "PYTEST_",
        "SSL_CERT",
        "REQUESTS_CA",
    )
    ours = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    path = [part for part in ours["PATH"].split(os.pathsep) if Path(part) != Path(sys.executable).parent]
    # Also where CI runs as another user than the one that cloned.
    git = {"GIT_CONFIG_COUNT": "3", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
    git |= {"GIT_CONFIG_KEY_1": "user.name", "GIT_CONFIG_VALUE_1": "A test"}
    git |= {"GIT_CONFIG_KEY_2": "user.email", "GIT_CONFIG_VALUE_2": "test@example.com"}
    return ours | git | {"PATH": os.pathsep.join(path)}


def run(directory: Path, *command: str | Path, env: Mapping[str, str] | None = None) -> str:
    """Run a command that must succeed; return what it printed."""
    done = subprocess.run(
        command, cwd=directory, env=environment() | dict(env or {}), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{command} in {directory}:\n{done.stdout[-6000:]}"
    return done.stdout


def make_copy(destination: Path, source: Path = PROJECT, ref: str = "HEAD", **answers: bool) -> Path:
    data = [f"--data={name}={str(value).lower()}" for name, value in answers.items()]
    # In the name, so that a project is not told apart by chance.
    data.append("--data=project_name=my-project")
    run(source, COPIER, "copy", "--quiet", "--defaults", f"--vcs-ref={ref}", *data, source, destination)
    return destination


def files(directory: Path) -> list[str]:
    """Return the files that a copy has in the beginning."""
    listed = run(directory, "git", "ls-files", "--others", "--exclude-standard", "--cached")
    return listed.splitlines()


def lint_and_test(directory: Path) -> str:
    """Run lint and the tests but the slow ones, as the copy's README says; return what the tests printed."""
    run(directory, "make", "lint")
    return run(
        directory, "make", "test", "PYTEST_ARGS=-m 'not end_to_end' --numprocesses 0 -p no:cacheprovider"
    )


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of this repository's last commit."""
    clone = tmp_path_factory.mktemp("source") / "starter"
    run(PROJECT, "git", "clone", "--quiet", PROJECT, clone)
    return clone


KEEPS = [(cloud, workflows) for cloud in (True, False) for workflows in (True, False)]


@pytest.fixture(scope="module", params=KEEPS, ids=lambda keep: f"cloud={keep[0]},workflows={keep[1]}")
def answers(request: pytest.FixtureRequest) -> dict[str, bool]:
    return dict(zip(NAMES, request.param, strict=True))


@pytest.fixture(scope="module")
def copy(answers: dict[str, bool], clean: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = make_copy(tmp_path_factory.mktemp("copy") / "my-project", clean, **answers)
    run(directory, "git", "init", "--quiet")
    yield directory
    shutil.rmtree(directory)


def test_it_has_what_was_kept_and_no_trace_of_the_rest(copy: Path, answers: dict[str, bool]) -> None:
    names = files(copy)
    assert {name.split("/")[0] for name in names}.isdisjoint(OURS)
    assert not [name for name in names if name.endswith(".jinja")]
    assert ("local-dbt-cloud/pyproject.toml" in names) is answers["keep_local_dbt_cloud"]
    assert ("scripts/run.py" in names) is answers["keep_local_dbt_cloud"]
    assert (".github/workflows/test.yaml" in names) is answers["keep_github_workflows"]
    for question in (question for question, kept in answers.items() if not kept):
        for name in set(names) - MAY_NAME:
            text = (copy / name).read_text(encoding="utf-8", errors="replace")
            found = re.search(NAMES[question], text, re.IGNORECASE)
            assert found is None, f"{name} names {found[0]}"
    assert (copy / "README.md").read_text().startswith("# my-project\n")
    assert (copy / ".astro/config.yaml").read_text() == "project:\n  name: my-project\n"


def test_lint_the_parse_test_and_the_tests_pass(copy: Path, answers: dict[str, bool]) -> None:
    printed = lint_and_test(copy)
    assert "error" not in printed.splitlines()[-1]
    ran = re.search(r"(\d+) passed", printed)
    assert ran
    assert int(ran[1]) > (400 if answers["keep_local_dbt_cloud"] else 50)
    assert "test_dag_integrity_default" in run(
        copy, copy / ".make/venv/bin/python", "-m", "pytest", "--collect-only", "-q", ".astro"
    )


def test_the_image_of_a_copy_passes_its_tests(clean: Path, tmp_path: Path) -> None:
    """What `astro dev pytest` does: only the image's files, the Runtime's packages and requirements.txt."""
    assert (RUNTIME / "ready").is_file(), "`make test` creates this environment"
    copy = make_copy(tmp_path / "copy", clean)
    image = tmp_path / "image"
    run(copy, "git", "init", "--quiet")
    for name in files(copy):
        if not is_ignored(copy, name):
            (image / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(copy / name, image / name)
    printed = run(
        image, RUNTIME / "bin/python", "-m", "pytest", "-p", "no:cacheprovider", "tests", ".astro",
        env={"PYTHONPATH": str(image), "AIRFLOW_HOME": str(tmp_path / "airflow")},
    )  # fmt: skip
    assert re.search(r"\d\d+ passed", printed)
    assert "needs local_dbt_cloud, not installed here" in printed
    assert "needs local_dbt_cloud and scripts, not installed here" in printed


def test_a_clone_without_the_optional_parts_passes(clean: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    run(tmp_path, "git", "clone", "--quiet", clean, clone)
    for name in ("local-dbt-cloud", "scripts", "dev", "docs"):
        shutil.rmtree(clone / name)
    (clone / "docker-compose.override.yml").unlink()
    printed = lint_and_test(clone)
    assert "needs local_dbt_cloud, not installed here" in printed


def test_an_update_brings_fixes_and_leaves_dags_alone(clean: Path, tmp_path: Path) -> None:
    template, copy = tmp_path / "template", tmp_path / "my-project"
    hook, main = "include/dbt_cloud/hook.py", "dags/check_before_running_dbt_cloud_job.py"
    report, sensor = "dags/report_on_dbt_models.py", "dags/wait_for_dbt_cloud_job_with_sensor.py"
    run(tmp_path, "git", "clone", "--quiet", clean, template)
    now = {name: (template / name).read_text() for name in (hook, main, report, sensor)}

    # An older version of the template: another hook, other Dags, one Dag not there yet.
    for name in (hook, main, sensor):
        (template / name).write_text(now[name] + "# As it was before.\n")
    (template / report).unlink()
    run(template, "git", "commit", "--quiet", "--all", "--message", "Older")
    run(template, "git", "tag", "v0.1.0")
    make_copy(copy, template, "v0.1.0")
    run(copy, "git", "init", "--quiet")
    # They change one Dag, delete another, and add one of their own.
    (copy / main).write_text(now[main].replace("@daily", "@hourly"))
    (copy / sensor).unlink()
    (copy / "dags/theirs.py").write_text("# Their own Dag\n")
    run(copy, "git", "add", "--all")
    run(copy, "git", "commit", "--quiet", "--message", "Make it ours")
    run(template, "git", "revert", "--no-edit", "HEAD")
    run(template, "git", "tag", "v0.2.0")

    run(copy, COPIER, "update", "--quiet", "--defaults")
    assert (copy / hook).read_text() == now[hook]
    assert (copy / main).read_text() == now[main].replace("@daily", "@hourly")
    assert not (copy / sensor).exists()
    assert not (copy / report).exists()
    assert (copy / "dags/theirs.py").read_text() == "# Their own Dag\n"
    assert "_commit: v0.2.0" in (copy / ".copier-answers.yml").read_text()
    assert run(copy, "git", "diff", "--name-only").split() == [".copier-answers.yml", hook]

    # The emulator can be declined later.
    run(copy, "git", "commit", "--quiet", "--all", "--message", "Update")
    run(copy, COPIER, "update", "--quiet", "--defaults", "--data=keep_local_dbt_cloud=false")
    assert not (copy / "local-dbt-cloud/pyproject.toml").exists()
    assert not (copy / "tests/integration/test_hook.py").exists()
    assert (copy / main).exists()

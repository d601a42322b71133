"""Make copies of this repository with Copier, check their content, and run their commands."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from local_dbt_cloud.testing import environment_before_trust_ca

PROJECT = Path(__file__).parents[2]
COPIER = Path(sys.executable).with_name("copier")
# Text that a copy must not have, by the question that was answered with no.
DECLINED_TEXT = {
    "keep_local_dbt_cloud": r"local.dbt.cloud|make run|make start|\bscripts/|docker-compose",
    "keep_github_workflows": r"\.github\b|ASTRO_API_TOKEN",
}
# Files that may have it: they check whether the pytest plugin is installed, or ignore paths.
EXEMPT_FILES = {
    "tests/conftest.py",
    ".gitignore",
    ".dockerignore",
    ".copier-answers.yml",
    "tests/test_image.py",
}
MAINTAINER_FILES = {
    "dev", "docs", ".ci", "copier.yml", "CONTRIBUTING.md", "CHANGELOG.md", "AGENTS.md", "LICENSE",
}  # fmt: skip
# A copy has the code of this project: a file of each folder shows that its tests can run.
SELECTION = "test_dags or test_job_run or test_modules or test_sensor or test_compose or test_settings"
SELECTION += " or test_image or test_pins or test_workflows"
# Prefixes of variables that belong to this test run.
FOREIGN_VARIABLES = ("AIRFLOW", "LOCAL_DBT_CLOUD_", "MAKE", "MFLAGS", "MYPYPATH", "VIRTUAL_ENV", "PYTEST_")
GIT_CONFIG = {
    # CI may run as another user than the owner of the clone.
    "safe.directory": "*",
    "user.name": "A test",
    "user.email": "test@example.com",
}


def clean_environment() -> dict[str, str]:
    """Return the environment without foreign variables, and with a git configuration."""
    # Test runs trust only the certificate of the local dbt Cloud; package managers need the public ones.
    variables = environment_before_trust_ca().items()
    environment = {name: value for name, value in variables if not name.startswith(FOREIGN_VARIABLES)}
    path = environment["PATH"].split(os.pathsep)
    environment["PATH"] = os.pathsep.join(part for part in path if Path(part) != Path(sys.executable).parent)
    environment["GIT_CONFIG_COUNT"] = str(len(GIT_CONFIG))
    for number, (key, value) in enumerate(GIT_CONFIG.items()):
        environment |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return environment


def run(directory: Path, *command: str | Path, env: Mapping[str, str] | None = None) -> str:
    """Run a command that must succeed; return its output."""
    process = subprocess.run(
        command, cwd=directory, env=clean_environment() | dict(env or {}), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert process.returncode == 0, f"{command} in {directory}:\n{process.stdout[-6000:]}"
    return process.stdout


def make_copy(
    destination: Path, source: Path, answers: Mapping[str, bool] = MappingProxyType({}), ref: str = "HEAD"
) -> Path:
    """Copy a version of a template with the given answers to its questions."""
    data = [f"--data={name}={str(value).lower()}" for name, value in answers.items()]
    data.append("--data=project_name=my-project")
    run(source, COPIER, "copy", "--quiet", "--defaults", f"--vcs-ref={ref}", *data, source, destination)
    return destination


@contextmanager
def temporary_copy(source: Path, directory: Path, **answers: bool) -> Iterator[Path]:
    """Make a copy in a new git repository; delete it after the block, because its environment is large."""
    copy = make_copy(directory / "my-project", source, answers)
    run(copy, "git", "init", "--quiet")
    yield copy
    shutil.rmtree(copy)


def list_files(directory: Path) -> list[str]:
    """Return the files that git does not ignore."""
    output = run(directory, "git", "ls-files", "--others", "--exclude-standard", "--cached")
    return output.splitlines()


def lint(copy: Path, prepared: Path | None = None) -> None:
    """Run `make lint`.

    :param prepared: Another copy with the same requirements, whose environment is used.
    """
    run(copy, "make", "lint", *_use_environment(prepared))


def run_tests(copy: Path, selection: str = SELECTION, prepared: Path | None = None) -> int:
    """Run `make test` without slow tests; return how many tests passed.

    :param selection: Expression that selects tests by their names and folders, as for ``pytest -k``. All
        tests are imported.
    :param prepared: As for ``lint``.
    """
    arguments = f"PYTEST_ARGS=-m 'not end_to_end' -k '{selection}' --numprocesses 0 -p no:cacheprovider"
    passed = re.search(r"(\d+) passed", run(copy, "make", "test", arguments, *_use_environment(prepared)))
    assert passed
    return int(passed[1])


def _use_environment(prepared: Path | None) -> list[str]:
    """Return the variables for make to use the environment of another copy."""
    if not prepared:
        return []
    environment = prepared / ".make/venv"
    return [f"VENV={environment}", f"--old-file={environment}/ready", "ENVIRONMENTS="]


def differences(one: Path, other: Path) -> set[str]:
    """Return the files that differ between two copies, or that one of them lacks."""
    contents = ({(name, (copy / name).read_bytes()) for name in list_files(copy)} for copy in (one, other))
    return {name for name, _ in set.symmetric_difference(*contents)}


def check_content(copy: Path, answers: Mapping[str, bool]) -> None:
    """Assert that a copy has the chosen parts, no files for maintainers, and no text of declined parts."""
    names = list_files(copy)
    assert {name.split("/")[0] for name in names}.isdisjoint(MAINTAINER_FILES)
    assert not [name for name in names if name.endswith(".jinja")]
    assert ("local-dbt-cloud/pyproject.toml" in names) is answers["keep_local_dbt_cloud"]
    assert ("scripts/run.py" in names) is answers["keep_local_dbt_cloud"]
    assert (".github/workflows/test.yaml" in names) is answers["keep_github_workflows"]
    for question in (question for question, kept in answers.items() if not kept):
        for name in set(names) - EXEMPT_FILES:
            text = (copy / name).read_text(encoding="utf-8", errors="replace")
            found = re.search(DECLINED_TEXT[question], text, re.IGNORECASE)
            assert found is None, f"{name} contains {found[0]}"
    assert (copy / "README.md").read_text().startswith("# my-project\n")
    assert (copy / ".astro/config.yaml").read_text() == "project:\n  name: my-project\n"


def check_copy_without_workflows(starter: Path, directory: Path, complete: Path, **answers: bool) -> None:
    """Assert that a copy without workflows passes, and differs from the complete copy in nothing else.

    :param complete: Copy with the same answers and with workflows, whose environment is used.
    """
    answers |= {"keep_github_workflows": False}
    with temporary_copy(starter, directory, **answers) as copy:
        check_content(copy, answers)
        different = {name for name in differences(copy, complete) if not name.startswith(".github/")}
        assert different == {".copier-answers.yml", "tests/test_workflows.py"}
        # The same code, so only what reads the files of the project can fail.
        assert run_tests(copy, "test_image or test_pins", prepared=complete) > 20

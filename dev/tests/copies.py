"""Make copies of this repository with Copier, and run their commands."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

PROJECT = Path(__file__).parents[2]
COPIER = Path(sys.executable).with_name("copier")
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


def make_copy(destination: Path, source: Path, ref: str = "HEAD", **answers: bool) -> Path:
    """Copy a version of a template, with answers to its questions."""
    data = [f"--data={name}={str(value).lower()}" for name, value in answers.items()]
    data.append("--data=project_name=my-project")
    run(source, COPIER, "copy", "--quiet", "--defaults", f"--vcs-ref={ref}", *data, source, destination)
    return destination


def files(directory: Path) -> list[str]:
    """Return the files that a copy has in the beginning."""
    listed = run(directory, "git", "ls-files", "--others", "--exclude-standard", "--cached")
    return listed.splitlines()


def lint_and_test(directory: Path, *variables: str) -> int:
    """Run lint, the parse test and all tests but the slow ones; return how many passed.

    :param variables: Of make, such as ``TESTS=tests .astro``.
    """
    run(directory, "make", "lint")
    arguments = "PYTEST_ARGS=-m 'not end_to_end' --numprocesses 0 -p no:cacheprovider"
    passed = re.search(r"(\d+) passed", run(directory, "make", "test", arguments, *variables))
    assert passed
    return int(passed[1])


@contextmanager
def copied(source: Path, directory: Path, **answers: bool) -> Iterator[Path]:
    """Make a copy in a git repository, and remove it after the block: its environment is large."""
    copy = make_copy(directory / "my-project", source, **answers)
    run(copy, "git", "init", "--quiet")
    yield copy
    shutil.rmtree(copy)


def check_content(copy: Path, answers: Mapping[str, bool]) -> None:
    """Assert that a copy has what was kept, nothing for maintainers, and no trace of what was declined."""
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

"""The order of the tests, and fixtures with the template and a copy of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.tests.copies import PROJECT, lint, run, temporary_copy


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest file first: `make test` runs each file in one of three processes."""
    items.sort(key=lambda item: item.path.name != "test_fault_matrix.py")


@pytest.fixture(scope="session")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of this repository's last commit."""
    clone = tmp_path_factory.mktemp("source") / "starter"
    # With packed objects, as from a server: Copier renders the path of each file in .git too.
    run(PROJECT, "git", "clone", "--quiet", "--no-local", PROJECT, clone)
    return clone


@pytest.fixture(scope="module")
def copy(
    request: pytest.FixtureRequest, starter: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A copy with the answers in ``ANSWERS`` of the test module, and with its environment."""
    with temporary_copy(starter, tmp_path_factory.mktemp("copies"), **request.module.ANSWERS) as copy:
        # Creates the environment.
        lint(copy)
        yield copy

"""Fixture with the template of the copies."""

from pathlib import Path

import pytest

from dev.tests.copies import PROJECT, run


@pytest.fixture(scope="session")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of this repository's last commit."""
    clone = tmp_path_factory.mktemp("source") / "starter"
    run(PROJECT, "git", "clone", "--quiet", PROJECT, clone)
    return clone

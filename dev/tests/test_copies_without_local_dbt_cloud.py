"""Copies without the local dbt Cloud, and a clone without the optional parts, pass lint and their tests."""

import shutil
from pathlib import Path

import pytest

from dev.tests.copies import (
    SELECTION,
    check_content,
    check_copy_without_workflows,
    lint,
    run,
    run_tests,
)

pytestmark = pytest.mark.end_to_end

ANSWERS = {"keep_local_dbt_cloud": False, "keep_github_workflows": True}


def test_a_copy_with_workflows_passes(copy: Path) -> None:
    check_content(copy, ANSWERS)
    assert run_tests(copy) > 100


def test_a_copy_without_workflows_passes(copy: Path, starter: Path, tmp_path: Path) -> None:
    check_copy_without_workflows(starter, tmp_path, copy, **ANSWERS)


def test_a_clone_without_the_optional_parts_passes(copy: Path, starter: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    run(tmp_path, "git", "clone", "--quiet", starter, clone)
    for name in ("local-dbt-cloud", "scripts", "dev", "docs"):
        shutil.rmtree(clone / name)
    (clone / "docker-compose.override.yml").unlink()
    lint(clone, prepared=copy)
    assert run_tests(clone, f"{SELECTION} or integration", prepared=copy) > 100

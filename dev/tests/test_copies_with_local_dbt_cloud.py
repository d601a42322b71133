"""Copies with the local dbt Cloud pass lint and their tests."""

from pathlib import Path

import pytest

from dev.tests.copies import (
    check_content,
    check_copy_without_workflows,
    differences,
    list_files,
    run_tests,
)

pytestmark = pytest.mark.end_to_end

ANSWERS = {"keep_local_dbt_cloud": True, "keep_github_workflows": True}


def test_a_copy_with_workflows_passes(copy: Path) -> None:
    check_content(copy, ANSWERS)
    assert run_tests(copy) > 150


def test_a_copy_has_the_code_of_this_project(copy: Path, starter: Path) -> None:
    changed = differences(copy, starter).intersection(list_files(copy))
    assert changed == {".copier-answers.yml", "LICENSE.starter", "README.md", ".astro/config.yaml"}


def test_a_copy_without_workflows_passes(copy: Path, starter: Path, tmp_path: Path) -> None:
    check_copy_without_workflows(starter, tmp_path, copy, **ANSWERS)

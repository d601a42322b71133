"""Copies with the local dbt Cloud pass lint and their tests."""

from pathlib import Path

import pytest

from copies import check_content, lint_and_test, temporary_copy

pytestmark = pytest.mark.end_to_end


def test_a_copy_with_workflows_passes(starter: Path, tmp_path: Path) -> None:
    answers = {"keep_local_dbt_cloud": True, "keep_github_workflows": True}
    with temporary_copy(starter, tmp_path, **answers) as copy:
        check_content(copy, answers)
        assert lint_and_test(copy) > 400


def test_a_copy_without_workflows_passes(starter: Path, tmp_path: Path) -> None:
    answers = {"keep_local_dbt_cloud": True, "keep_github_workflows": False}
    with temporary_copy(starter, tmp_path, **answers) as copy:
        check_content(copy, answers)
        # Without the emulator's tests, which the copy with workflows runs.
        assert lint_and_test(copy, "TESTS=tests .astro") > 300

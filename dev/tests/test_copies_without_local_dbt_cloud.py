"""Copies without the local dbt Cloud pass lint and their tests."""

from pathlib import Path

import pytest

from copies import check_content, lint_and_test, temporary_copy

pytestmark = pytest.mark.end_to_end


@pytest.mark.parametrize("workflows", [True, False], ids=["with workflows", "without workflows"])
def test_a_copy_passes(starter: Path, tmp_path: Path, workflows: bool) -> None:
    answers = {"keep_local_dbt_cloud": False, "keep_github_workflows": workflows}
    with temporary_copy(starter, tmp_path, **answers) as copy:
        check_content(copy, answers)
        assert lint_and_test(copy) > 50

"""Copies without the local dbt Cloud run lint and their tests, and do not name what was declined."""

from pathlib import Path

import pytest

from copying import check_content, copied, lint_and_test

pytestmark = pytest.mark.end_to_end


def test_a_copy_with_the_workflows(starter: Path, tmp_path: Path) -> None:
    answers = {"keep_local_dbt_cloud": False, "keep_github_workflows": True}
    with copied(starter, tmp_path, **answers) as copy:
        check_content(copy, answers)
        assert lint_and_test(copy) > 50


def test_a_copy_without_the_workflows(starter: Path, tmp_path: Path) -> None:
    answers = {"keep_local_dbt_cloud": False, "keep_github_workflows": False}
    with copied(starter, tmp_path, **answers) as copy:
        check_content(copy, answers)
        assert lint_and_test(copy) > 50

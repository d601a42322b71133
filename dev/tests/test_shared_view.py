"""Airflow's tab and the local dbt Cloud have the same results view. Neither may import the other."""

from pathlib import Path

import pytest

from tests.conftest import PROJECT

PLUGIN = PROJECT / "plugins" / "dbt_results" / "static" / "view"
LOCAL = PROJECT / "local-dbt-cloud" / "src" / "local_dbt_cloud" / "web" / "static" / "view"


def files(folder: Path) -> dict[str, str]:
    """Return the contents of a folder's files by name."""
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


@pytest.mark.skipif(not LOCAL.is_dir(), reason="local-dbt-cloud was deleted")
def test_both_copies_of_the_results_view_are_equal() -> None:
    assert files(PLUGIN) == files(LOCAL), f"copy {PLUGIN} to {LOCAL}"

"""The tab in Airflow and the page of the local dbt Cloud show the same critical path."""

from pathlib import Path

import httpx
import pytest
from local_dbt_cloud import testing

from include.dbt_cloud.critical_path import critical_path

JOB = 101


@pytest.mark.end_to_end
def test_both_views_show_the_same_critical_path(tmp_path: Path) -> None:
    with testing.serve(tmp_path / "data") as cloud:
        run = cloud.wait(cloud.trigger(JOB)["id"])
        results, manifest = (
            cloud.client.get(f"runs/{run['id']}/artifacts/{name}.json").json()
            for name in ("run_results", "manifest")
        )
        page = httpx.get(f"{run['href']}results.json", trust_env=False)
    ours = critical_path(results["results"], manifest["parent_map"])
    assert {node["unique_id"] for node in page.json()["nodes"] if node.get("critical")} == ours
    assert len(ours) > 3

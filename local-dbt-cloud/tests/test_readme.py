"""The README's tables match the API, and its example of a fault works."""

import json
import re
from itertools import product
from pathlib import Path

from local_dbt_cloud.api import create_api
from local_dbt_cloud.api.query import EnvironmentQuery, JobQuery, ProjectQuery, RunQuery
from routes import endpoints
from running_cloud import RunningCloud

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
PREFIX = "/accounts/{account_id}"


def documented() -> dict[tuple[str, str, str], str]:
    """Return the description of each version, method and path in the table of operations."""
    found: dict[tuple[str, str, str], str] = {}
    rows = re.findall(r"^\| ([A-Z, ]+) \| (.+?) \| ([v23 ]+) \| (.+) \|$", README, re.M)
    for methods, paths, versions, text in rows:
        for version, path in product(versions.split(), re.findall("`(.+?)`", paths)):
            short = path if path.startswith("/api/") else f"/api/{version}{PREFIX}{path}".rstrip("/")
            if short.startswith(f"/api/{version}/"):
                found |= {(version, method, short): text for method in methods.split(", ")}
    return found


def test_readme_lists_all_operations(cloud: RunningCloud) -> None:
    served = {
        (path.split("/")[2], method, path.replace("{path:path}", "{path}"))
        for method, path, _ in endpoints(create_api(cloud.service).routes)
        if path.startswith("/api/")
    }
    assert set(documented()) == served


def test_readme_lists_all_filters() -> None:
    for path, query in (("projects", ProjectQuery), ("environments", EnvironmentQuery), ("jobs", JobQuery),
                        ("runs", RunQuery)):  # fmt: skip
        text = documented()["v2", "GET", f"/api/v2{PREFIX}/{path}"]
        named = set(re.findall("`(.+?)`", text.partition("orders:")[0]))
        assert named == set(query.model_fields) - {"limit", "offset", "order_by"}, path


def test_readme_example_of_a_fault_works(cloud: RunningCloud) -> None:
    (body,) = re.findall("-d '(.+)'", README)
    cloud.post(f"{cloud.url}/local/faults", json.loads(body))
    run_id = cloud.add_run()
    assert cloud.client.get(f"runs/{run_id}/").status_code == 503
    assert cloud.client.get("runs/").status_code == 200


def test_readme_lists_the_control_api(cloud: RunningCloud) -> None:
    served = {
        (method, path)
        for method, path, _ in endpoints(create_api(cloud.service).routes)
        if path.startswith("/local/")
    }
    rows = re.findall(r"^\| ([A-Z, ]+) \| (`/local/.+?`) \|", README, re.M)
    documented = {
        (method, path.split("?")[0])
        for methods, paths in rows
        for method in methods.split(", ")
        for path in re.findall("`(.+?)`", paths)
    }
    assert served <= documented
    assert {path for _, path in served} == {path for _, path in documented}

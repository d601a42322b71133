"""An asset for each model that a run has built."""

from typing import Any

import pytest
from airflow.sdk import Asset, AssetAlias
from airflow.sdk.execution_time.context import OutletEventAccessors
from local_dbt_cloud.testing import LocalDbtCloud

from include.dbt_cloud.exceptions import DbtCloudJobRunFailed
from include.dbt_cloud.model_assets import MODELS, model_asset
from tests.integration.lifecycle import TaskLifecycle
from tests.integration.run_results import result, step
from tests.task_instance import TaskInstance

RESULTS = [
    result("model.shop.orders"),
    result("model.shop.stg_orders", seconds=0.5),
    result("model.shop.customers.v2"),
    result("model.shop.reused", "reused"),
    result("model.shop.skipped", "skipped"),
    result("seed.shop.raw_orders"),
    result("test.shop.unique_orders.abc123", "warn"),
]


def events(held: LocalDbtCloud, outcome: Any = "success", **arguments: Any) -> OutletEventAccessors:
    """Run a task whose dbt Cloud run ends with these results; return its events."""
    lifecycle = TaskLifecycle(**arguments)
    lifecycle.outlet_events = OutletEventAccessors()
    lifecycle.run(lambda: held.end_active_runs(outcome, steps=[step(RESULTS)]))
    return lifecycle.outlet_events


def names(accessors: OutletEventAccessors, alias: AssetAlias = MODELS) -> list[str]:
    return sorted(event.dest_asset_key.name for event in accessors[alias].asset_alias_events)


@pytest.mark.parametrize(
    ("patterns", "built"),
    [
        (["*"], ["shop.customers.v2", "shop.orders", "shop.stg_orders"]),
        (["orders"], ["shop.orders"]),
        (["stg_*", "customers.*"], ["shop.customers.v2", "shop.stg_orders"]),
        (["reused", "skipped", "raw_orders", "not_selected"], []),
    ],
    ids=str,
)
def test_models_that_were_built_get_an_event(
    held: LocalDbtCloud, patterns: list[str], built: list[str]
) -> None:
    assert names(events(held, model_assets=patterns)) == built


def test_an_event_says_how_the_model_was_built(held: LocalDbtCloud) -> None:
    (event,) = events(held, model_assets=["stg_orders"])[MODELS].asset_alias_events
    (run,) = held.runs()
    assert (event.dest_asset_key.name, event.dest_asset_key.uri) == (
        "shop.stg_orders",
        "x-dbt://shop/stg_orders",
    )
    assert event.extra == {
        "run_id": run["id"],
        "href": run["href"],
        "status": "success",
        "started_at": "2026-01-01T00:00:00Z",
        "execution_time": 0.5,
        "rows": None,
    }


def test_no_model_gets_an_event_unless_asked_for(held: LocalDbtCloud) -> None:
    assert len(events(held)) == 0


def test_a_failed_test_gives_its_model_no_event(held: LocalDbtCloud) -> None:
    lifecycle = TaskLifecycle(model_assets=["*"])
    lifecycle.outlet_events = OutletEventAccessors()
    failed = step([*RESULTS, result("test.shop.not_null_orders.abc123", "fail")])
    with pytest.raises(DbtCloudJobRunFailed):
        lifecycle.run(lambda: held.end_active_runs("error", steps=[failed]))
    assert len(lifecycle.outlet_events) == 0


def test_mapped_tasks_update_the_assets_of_their_jobs(held: LocalDbtCloud) -> None:
    jobs = AssetAlias("jobs")
    for index, asset in enumerate([Asset("one"), Asset("other")]):
        outlets = [jobs, MODELS]
        ti = TaskInstance(map_index=index)
        found = events(held, ti=ti, outlets=outlets, mapped_outlet=asset, model_assets=["orders"])
        assert (names(found, jobs), names(found)) == ([asset.name], ["shop.orders"])
        (event,) = found[jobs].asset_alias_events
        extra: Any = event.extra
        assert extra["counts"]["success"] == 4


def test_the_asset_of_a_model_is_the_one_that_a_dag_names() -> None:
    asset = model_asset("shop.customers.v2")
    assert (asset.name, asset.uri) == ("shop.customers.v2", "x-dbt://shop/customers/v2")

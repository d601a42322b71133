"""Results of a run's nodes in the log, in an XCom and in the asset event."""

import json
from itertools import pairwise
from typing import Any

import pytest
from airflow.sdk import Asset
from local_dbt_cloud.testing import LocalDbtCloud, Status

from include.dbt_cloud.exceptions import DbtCloudJobRunFailed, DbtCloudResponseError
from include.dbt_cloud.hook import DbtCloudHook
from include.dbt_cloud.results import MAX_NODES_SIZE, format_results, read_run_results
from tests.integration.lifecycle import TaskLifecycle
from tests.integration.run_results import result, step


def create_run(
    cloud: LocalDbtCloud, steps: list[list[dict[str, Any]] | None], status: Status = "success"
) -> int:
    """Create a run whose dbt steps have these results; None is a step without any."""
    return cloud.create_run(status, steps=[step(results) for results in steps])


def read(run_id: int) -> dict[str, Any]:
    hook = DbtCloudHook("dbt_conn")
    run = hook.get_run(run_id, related=["run_steps"])
    return read_run_results(hook, run)


def test_failures_come_first_then_the_slowest_nodes(cloud: LocalDbtCloud) -> None:
    run_id = create_run(cloud, [
        [
            result("model.shop.quick", seconds=0.1),
            result("model.shop.slow", seconds=30),
            result("model.shop.after", "skipped", 0, None),
            result("test.shop.not_null_id.abc123", "warn", 2, "Got 3 results\nand more"),
            result("test.shop.unique_id.abc123", "fail", 1, "Got 1 result"),
            result("unit_test.shop.orders.adds_up", "pass", 3),
        ],
        None,
        [result("model.shop.broken", "error", 5, "\nRuntime Error in model b\n  Failed:\n  at 1\n  bad SQL")],
    ])  # fmt: skip
    results = read(run_id)
    assert results["counts"] == {"error": 1, "fail": 1, "warn": 1, "skipped": 1, "success": 2, "pass": 1}
    assert (results["seconds"], results["left_out"]) == (5.0, 0)
    assert format_results(results).splitlines() == [
        "1 error, 1 fail, 1 warn, 1 skipped, 2 success, 1 pass, in 5.0 seconds",
        "status      seconds  node                      message",
        "error          5.00  model broken              Runtime Error: Failed: bad SQL",
        "fail           1.00  test unique_id            Got 1 result",
        "warn           2.00  test not_null_id          Got 3 results",
        "skipped        0.00  model after",
        "success       30.00  model slow",
        "pass           3.00  unit_test orders.adds_up",
        "success        0.10  model quick",
    ]
    assert results["nodes"][0] == {
        "unique_id": "model.shop.broken",
        "status": "error",
        "thread_id": "Thread-1",
        "execution_time": 5,
        "started_at": "2026-01-01T00:00:00Z",
        "critical": True,
        "message": "Runtime Error: Failed: bad SQL",
    }


def test_many_nodes_are_bounded_and_the_important_ones_are_kept(cloud: LocalDbtCloud) -> None:
    nodes = [result(f"model.shop.model_{number}", seconds=number) for number in range(5000)]
    bad = [result(f"model.shop.bad_{number}", "error", message="x" * 10_000) for number in range(20)]
    results = read(create_run(cloud, [nodes + bad]))
    assert len(json.dumps(results)) < MAX_NODES_SIZE + 1000
    assert sum(results["counts"].values()) == len(results["nodes"]) + results["left_out"] == 5020
    assert all(node["status"] == "error" for node in results["nodes"][:20])
    table = format_results(results).splitlines()
    assert len(table) == 1 + 1 + 20 + 10 + 1
    assert table[-1] == "and 4990 more"


def test_a_run_without_results_has_none(cloud: LocalDbtCloud) -> None:
    results = read(create_run(cloud, [None, None]))
    assert (results["counts"], results["nodes"]) == ({}, [])
    assert format_results(results).startswith("nothing, in 0")


def test_commands_that_build_nothing_do_not_count(cloud: LocalDbtCloud) -> None:
    orders = [result("model.shop.orders")]
    run_id = cloud.create_run(steps=[step(orders), step(orders, which="generate")])
    assert read(run_id)["counts"] == {"success": 1}


def test_results_left_by_an_earlier_step_count_once(cloud: LocalDbtCloud) -> None:
    run_id = cloud.create_run(steps=[step([result("model.shop.orders")])] * 2)
    assert read(run_id)["counts"] == {"success": 1}


def test_a_results_file_that_is_forbidden_is_an_error(cloud: LocalDbtCloud) -> None:
    run_id = create_run(cloud, [[]])
    cloud.add_fault("/artifacts", status=403)
    with pytest.raises(DbtCloudResponseError, match="403"):
        read(run_id)


def test_a_success_is_pushed_and_updates_the_tasks_assets(cloud: LocalDbtCloud) -> None:
    class Event:
        extra: Any = None

    asset = Asset("orders")
    lifecycle = TaskLifecycle(outlets=[asset])
    lifecycle.outlet_events = {asset: Event()}
    run_id = create_run(cloud, [[result("model.shop.orders")]])
    lifecycle.operator().execute_complete(
        lifecycle.context, {"status": "success", "run_id": run_id, "message": "Done."}
    )
    assert lifecycle.ti.xcoms["run_results"]["counts"] == {"success": 1}
    assert lifecycle.outlet_events[asset].extra == lifecycle.ti.xcoms["run_results"]


@pytest.mark.parametrize("trouble", [{"status": 404}, {"status": 403}, {"html": True}], ids=str)
def test_results_that_cannot_be_read_do_not_change_the_outcome(
    cloud: LocalDbtCloud, trouble: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    lifecycle = TaskLifecycle()
    run_id = create_run(cloud, [[result("model.shop.orders")]])
    cloud.add_fault(f"/runs/{run_id}", times=None, **trouble)
    event = {"run_id": run_id, "message": "It ended."}
    assert lifecycle.operator().execute_complete(lifecycle.context, event | {"status": "success"}) == run_id
    with pytest.raises(DbtCloudJobRunFailed, match="It ended"):
        lifecycle.operator().execute_complete(lifecycle.context, event | {"status": "error"})
    assert f"dbt Cloud run {run_id}: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("nodes", "trouble", "is_told"),
    [
        ([result("model.shop.orders", "error", message="Bad.")], None, False),
        ([result("test.shop.unique_id.abc", "warn", message="Got 1 result")], None, True),
        ([], None, True),
        ([result("model.shop.orders", "error", message="Bad.")], {"status": 403}, True),
    ],
    ids=["a node failed", "something else failed", "nothing ran", "results cannot be read"],
)
def test_the_log_of_dbt_is_shown_if_no_node_explains_the_failure(
    cloud: LocalDbtCloud,
    monkeypatch: pytest.MonkeyPatch,
    nodes: list[dict[str, Any]],
    trouble: dict[str, Any] | None,
    is_told: bool,
) -> None:
    told: list[int] = []

    def show(_: DbtCloudHook, run_id: int, **__: Any) -> None:
        told.append(run_id)

    monkeypatch.setattr(DbtCloudHook, "log_job_run_failure_details", show)
    run_id = create_run(cloud, [nodes], "error")
    if trouble:
        cloud.add_fault("/artifacts/", times=None, **trouble)
    lifecycle = TaskLifecycle()
    with pytest.raises(DbtCloudJobRunFailed) as error:
        lifecycle.operator().execute_complete(
            lifecycle.context, {"status": "error", "run_id": run_id, "message": "Ended."}
        )
    assert told == [run_id] * is_told
    assert ("model.shop.orders: Bad." in str(error.value)) is not is_told


@pytest.mark.end_to_end
def test_dbts_own_results_of_a_run_that_failed(
    cloud: LocalDbtCloud, capsys: pytest.CaptureFixture[str]
) -> None:
    lifecycle = TaskLifecycle(
        job_id=102, steps_override=["dbt seed", "dbt build --vars '{break_one_model: true}'"]
    )
    trigger = lifecycle.execute()
    cloud.wait(trigger.run_id)
    with pytest.raises(DbtCloudJobRunFailed):
        lifecycle.resume(trigger)
    results = lifecycle.ti.xcoms["run_results"]
    assert results["nodes"][0]["status"] == "error"
    assert "Error" in results["nodes"][0]["message"]
    assert results["counts"]["skipped"] > 0
    # The seeds are in both steps.
    seeds = [node for node in results["nodes"] if node["unique_id"] == "seed.jaffle_shop.raw_orders"]
    assert len(seeds) == 2
    assert all(node["started_at"] for node in seeds)
    assert results["left_out"] == 0
    # dbt's manifest tells who may wait for whom. The first step is seeds, none of which waits for another.
    parents = cloud.client.get(f"runs/{trigger.run_id}/artifacts/manifest.json").json()["parent_map"]
    critical = sorted(
        (one for one in results["nodes"] if one.get("critical")), key=lambda one: one["started_at"]
    )
    first, *second = [one["unique_id"] for one in critical]
    assert first.startswith("seed.")
    assert len(second) > 4
    for one, other in pairwise(second):
        waited_for = {*parents[other]}
        if other.startswith("unit_test."):
            waited_for = {grandparent for parent in parents[other] for grandparent in parents[parent]}
        assert one in waited_for or other in parents[one] or waited_for & {*parents[one]}, (one, other)
    assert results["nodes"][0]["message"] in capsys.readouterr().out

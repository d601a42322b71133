"""Results of a run's nodes in the log, in an XCom and in the asset event."""

import contextlib
import json
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest
from airflow.sdk import Asset
from local_dbt_cloud.testing import LocalDbtCloud, Status

from include.dbt_cloud.exceptions import (
    DbtCloudConnectionError,
    DbtCloudJobRunFailed,
    DbtCloudResponseError,
)
from include.dbt_cloud.hook import DbtCloudHook
from include.dbt_cloud.results import (
    MAX_COMPACT_SIZE,
    MAX_NODES_SIZE,
    MAX_SOURCES,
    format_results,
    limit_nodes,
    read_run_results,
)
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
        "success       30.00  model slow",
        "pass           3.00  unit_test orders.adds_up",
        "success        0.10  model quick",
        "1 skipped",
        f"See {results['href']}",
    ]
    assert results["nodes"][0] == {
        "unique_id": "model.shop.broken",
        "status": "error",
        "thread_id": "Thread-1",
        "execution_time": 5,
        "started_at": "2026-01-01T00:00:00Z",
        "critical": True,
        "message": "Runtime Error: Failed: bad SQL",
        "name": "broken",
    }


def test_many_nodes_are_bounded_and_the_important_ones_are_kept(cloud: LocalDbtCloud) -> None:
    nodes = [result(f"model.shop.model_{number}", seconds=number) for number in range(5000)]
    bad = [result(f"model.shop.bad_{number}", "error", message="x" * 10_000) for number in range(20)]
    results = read(create_run(cloud, [nodes + bad]))
    assert len(json.dumps(results)) < MAX_NODES_SIZE + 1000
    assert sum(results["counts"].values()) == len(results["nodes"]) + results["left_out"] == 5020
    assert all(node["status"] == "error" for node in results["nodes"][:20])
    assert len(json.dumps(limit_nodes(results))) < MAX_COMPACT_SIZE + 1000
    assert limit_nodes(results)["left_out"] > results["left_out"] > 0
    table = format_results(results).splitlines()
    # Counts, head, the 20 failed and the 10 slowest nodes, what is left out, the link.
    assert len(table) == 1 + 1 + 20 + 10 + 1 + 1
    assert table[-2] == "and 4990 more"


def test_the_log_is_at_most_a_screen(cloud: LocalDbtCloud) -> None:
    bad = [result(f"model.shop.bad_{number}", "error", message="Bad.") for number in range(500)]
    after = [result(f"model.shop.after_{number}", "skipped", 0, None) for number in range(500)]
    table = format_results(read(create_run(cloud, [bad + after]))).splitlines()
    assert len(table) <= 40
    assert table[-3:-1] == ["500 skipped", "and 470 more"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"status": "success", "steps": [step(None)]}, "the steps of the job build nothing"),
        ({"status": "success", "steps": [step([], which="build")]}, "select no node"),
        (
            {"status": "cancelled", "status_message": "Cancelled by user."},
            "the run ended before dbt started.",
        ),
        (
            {"status": "error", "steps": [step(None) | {"status": 20}]},
            "step 4 failed first: Invoke dbt with `dbt build`.",
        ),
    ],
    ids=["no results", "empty results", "canceled in the queue", "a step failed"],
)
def test_a_run_in_which_nothing_ran_says_why(
    cloud: LocalDbtCloud, fields: dict[str, Any], reason: str
) -> None:
    results = read(cloud.create_run(**fields))
    assert (results["counts"], results["nodes"]) == ({}, [])
    first, link = format_results(results).splitlines()
    assert first.startswith("No node ran: ")
    assert reason in first
    assert link == f"See {results['href']}"


def test_commands_that_build_nothing_do_not_count(cloud: LocalDbtCloud) -> None:
    orders = [result("model.shop.orders")]
    run_id = cloud.create_run(steps=[step(orders), step(orders, which="generate")])
    assert read(run_id)["counts"] == {"success": 1}


def test_results_left_by_an_earlier_step_count_once(cloud: LocalDbtCloud) -> None:
    run_id = cloud.create_run(steps=[step([result("model.shop.orders")])] * 2)
    assert read(run_id)["counts"] == {"success": 1}


def test_facts_about_the_run_are_in_its_results(cloud: LocalDbtCloud) -> None:
    run_id = cloud.create_run("error", cause="Nightly", steps=[step([])], status_message="It broke.")
    run = DbtCloudHook("dbt_conn").get_run(run_id, related=["run_steps", "trigger", "job", "environment"])
    results = read_run_results(DbtCloudHook("dbt_conn"), run)
    facts = {name: results[name] for name in ("outcome", "status_message", "job_id", "job", "cause")}
    assert facts == {
        "outcome": "error",
        "status_message": "It broke.",
        "job_id": 101,
        "job": "Build jaffle shop",
        "cause": "Nightly",
    }
    assert results["environment"]
    times = [results[name] for name in ("created_at", "started_at", "finished_at")]
    assert times == sorted(times)
    assert all(datetime.fromisoformat(time).tzinfo for time in times)


# What dbt 2 writes, by its published schemas and issues; it cannot be installed here.
DBT_2_NODE = {"unique_id": "model.shop.orders", "status": "success"}
PARENTS = {
    "model.shop.stg": ["source.shop.raw.orders"],
    "model.shop.orders": ["model.shop.ephemeral"],
    "model.shop.ephemeral": ["model.shop.stg"],
    "test.shop.unique_stg_id.abc": ["model.shop.stg"],
    "model.shop.report": ["model.shop.orders"],
}


def manifest(parents: dict[str, list[str]]) -> dict[str, Any]:
    return {"manifest.json": {"parent_map": parents, "nodes": {}}}


def build(results: list[dict[str, Any]], more: dict[str, Any]) -> dict[str, Any]:
    """Return a step with results and other artifacts."""
    one = step(results)
    return one | {"artifacts": one["artifacts"] | more}


def test_the_table_is_shown_although_results_lack_keys(cloud: LocalDbtCloud) -> None:
    nodes: list[dict[str, Any]] = [DBT_2_NODE, {"unique_id": "model.shop.bad", "status": "error"}]
    nodes += [{"status": "success"}, {}]
    nodes += [{"unique_id": "model.shop.odd", "timing": [None, {"started_at": 5}], "execution_time": "n/a"}]
    nodes[-1] |= {"status": "success", "relation_name": 7, "compiled_code": ["x"], "adapter_response": "OK"}
    nodes[-1] |= {"timing": [*nodes[-1]["timing"], {"started_at": "2026-01-01T00:00:00Z"}]}
    content = {"results": nodes}
    run_id = cloud.create_run(
        steps=[{"command": "dbt build", "artifacts": {"run_results.json": content}}] * 2
    )
    results = read(run_id)
    # Without an invocation id, a step cannot be distinguished from an earlier one: both count.
    assert results["counts"] == {"error": 2, "success": 4}
    assert "error          0.00  model bad" in format_results(results)


def test_reused_nodes_are_counted_and_sorted_separately(cloud: LocalDbtCloud) -> None:
    nodes = [result("model.shop.kept", "reused", 9, None), result("model.shop.built", seconds=1)]
    results = read(create_run(cloud, [nodes]))
    assert results["counts"] == {"success": 1, "reused": 1}
    assert [node["status"] for node in results["nodes"]] == ["success", "reused"]
    assert "message" not in results["nodes"][1]


def test_without_sql_the_critical_path_follows_the_manifest(cloud: LocalDbtCloud) -> None:
    def at(unique_id: str, start: int, seconds: float) -> dict[str, Any]:
        timing = [{"name": "execute", "started_at": f"2026-01-01T00:00:0{start}Z"}]
        return result(unique_id, seconds=seconds) | {"timing": timing, "compiled_code": None}

    nodes = [at("model.shop.stg", 0, 1), at("model.shop.other", 1, 1), at("model.shop.orders", 3, 1)]
    run_id = cloud.create_run(steps=[build(nodes, manifest(PARENTS))])
    critical = {node["name"] for node in read(run_id)["nodes"] if node.get("critical")}
    assert critical == {"stg", "orders"}


def test_skipped_nodes_name_the_failed_one_that_made_dbt_skip_them(cloud: LocalDbtCloud) -> None:
    after = [result(name, "skipped", 0, None) for name in ("model.shop.orders", "model.shop.report")]
    failed = result("model.shop.stg", "error", message="Bad.")
    results = read(cloud.create_run("error", steps=[build([failed, *after], manifest(PARENTS))]))
    assert [node.get("skipped_by") for node in results["nodes"]] == [None] + ["model.shop.stg"] * 2
    assert "2 skipped because of model stg" in format_results(results)


def test_a_failed_test_is_the_cause_of_what_dbt_skips_after_it(cloud: LocalDbtCloud) -> None:
    nodes = [
        result("model.shop.stg"),
        result("test.shop.unique_stg_id.abc", "fail", message="Got 1 result"),
        result("model.shop.report", "skipped", 0, None),
    ]
    results = read(cloud.create_run("error", steps=[build(nodes, manifest(PARENTS))]))
    assert results["nodes"][1]["skipped_by"] == "test.shop.unique_stg_id.abc"
    assert "1 skipped because of test unique stg.id" in format_results(results)


def test_a_manifest_that_is_too_large_or_forbidden_is_ignored(
    cloud: LocalDbtCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [result("model.shop.stg", "error"), result("model.shop.orders", "skipped", 0, None)]
    run_id = cloud.create_run("error", steps=[build(nodes, manifest(PARENTS))])
    with monkeypatch.context() as patch:
        patch.setattr("include.dbt_cloud.artifacts.MAX_MANIFEST_SIZE", 10)
        assert "skipped_by" not in read(run_id)["nodes"][1]
    cloud.add_fault("manifest.json", status=403)
    results = read(run_id)
    assert results["counts"] == {"error": 1, "skipped": 1}
    assert "skipped_by" not in results["nodes"][1]
    assert read(run_id)["nodes"][1]["skipped_by"] == "model.shop.stg"


def test_the_manifest_is_not_read_if_the_sql_is_enough(cloud: LocalDbtCloud) -> None:
    run_id = create_run(cloud, [[result("model.shop.orders") | {"compiled_code": "select 1"}]])
    cloud.clear_requests()
    read(run_id)
    assert not [request for request in cloud.requests() if "manifest" in request["path"]]


def test_failed_nodes_have_their_sql_and_rows(cloud: LocalDbtCloud) -> None:
    failed = result("test.shop.unique_orders_id.abc", "fail", message="Got 3 results")
    failed |= {"compiled_code": "\nselect 1\n" + "x" * 9000, "failures": 3}
    built = result("model.shop.orders") | {"adapter_response": {"rows_affected": 7}, "compiled_code": "x"}
    test, model = read(create_run(cloud, [[failed, built]]))["nodes"]
    assert (test["rows"], test["sql"][:8], len(test["sql"])) == (3, "select 1", 2000)
    assert (model["rows"], model.get("sql")) == (7, None)


SOURCES = {
    "results": [
        {
            "unique_id": "source.shop.raw.fresh",
            "status": "pass",
            "max_loaded_at": "2026-01-01T11:00:00+00:00",
        },
        {
            "unique_id": "source.shop.raw.stale",
            "status": "error",
            "max_loaded_at": "2025-12-31T00:00:00+00:00",
            "max_loaded_at_time_ago_in_s": 129600.0,
            "criteria": {"error_after": {"count": 1, "period": "day"}},
        },
        {
            "unique_id": "source.shop.raw.gone",
            "status": "runtime error",
            "error": "Database Error\n  No table",
        },
    ]
}


def test_stale_and_failing_sources_are_in_the_results_and_the_log(cloud: LocalDbtCloud) -> None:
    freshness = {"command": "dbt source freshness", "artifacts": {"sources.json": SOURCES}}
    results = read(cloud.create_run("error", steps=[freshness, step([result("model.shop.orders")])]))
    assert [(one["name"], one["status"]) for one in results["sources"]] == [
        ("raw.gone", "runtime error"), ("raw.stale", "error"), ("raw.fresh", "pass"),
    ]  # fmt: skip
    assert (results["sources"][1]["age"], results["sources"][1]["limit"]) == (129600, 86400)
    assert format_results(results).splitlines()[-4:-1] == [
        "status         source     freshness",
        "runtime error  raw.gone   Database Error",
        "error          raw.stale  36.0 hours old, error after 1 day",
    ]


def test_sources_count_toward_the_size_limit(cloud: LocalDbtCloud) -> None:
    error = {"status": "runtime error", "error": "x" * 10_000}
    sources = {"results": [{"unique_id": f"source.shop.raw.{number}", **error} for number in range(500)]}
    freshness = {"command": "dbt source freshness", "artifacts": {"sources.json": sources}}
    nodes = [result(f"model.shop.model_{number}") for number in range(500)]
    results = limit_nodes(read(cloud.create_run(steps=[freshness, step(nodes)])))
    assert len(results["sources"]) == MAX_SOURCES
    assert MAX_COMPACT_SIZE - 1000 < len(json.dumps(results)) < MAX_COMPACT_SIZE + 2000
    # JSON takes six bytes for this character.
    sources["results"] = [one | {"error": "\u017c" * 200} for one in sources["results"]]
    results = limit_nodes(read(cloud.create_run(steps=[freshness, step(nodes)])))
    assert len(json.dumps(results)) < MAX_COMPACT_SIZE + 2000
    assert results["nodes"]
    assert results["sources"]


def test_missing_freshness_results_are_left_out(cloud: LocalDbtCloud) -> None:
    run_id = cloud.create_run(steps=[{"command": "dbt source freshness"}, step([result("model.shop.a")])])
    assert read(run_id)["sources"] == []
    assert "source" not in format_results(read(run_id))


def test_each_run_of_a_task_instance_is_kept_for_the_page(cloud: LocalDbtCloud) -> None:
    life = TaskLifecycle()
    for status in ("error", "success"):
        run_id = cloud.create_run(status, steps=[step([result("model.shop.orders")])])
        event = {"status": status, "run_id": run_id, "message": "It ended."}
        with contextlib.suppress(DbtCloudJobRunFailed):
            life.operator().execute_complete(life.context, event)
        life.retry()
    records = [life.store.get(f"dbt_cloud_run_{run_id}") for run_id in (1, 2)]
    assert [(one["outcome"], one["try_number"], len(one["nodes"])) for one in records] == [
        ("error", 1, 1), ("success", 2, 1),
    ]  # fmt: skip


def test_a_store_that_fails_does_not_fail_the_task(
    cloud: LocalDbtCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = TaskLifecycle()

    def fail(key: str, value: Any) -> None:
        raise OSError("No store.")

    run_id = create_run(cloud, [[result("model.shop.orders")]])
    monkeypatch.setattr(life.store, "set", fail)
    event = {"status": "success", "run_id": run_id, "message": "Done."}
    assert life.operator().execute_complete(life.context, event) == run_id
    assert life.ti.xcoms["run_results"]["counts"] == {"success": 1}


def test_a_results_file_that_is_forbidden_is_an_error(cloud: LocalDbtCloud) -> None:
    run_id = create_run(cloud, [[]])
    cloud.add_fault("/artifacts", status=403)
    with pytest.raises(DbtCloudResponseError, match="403"):
        read(run_id)


def test_a_results_file_that_is_a_page_is_an_error_with_the_run(cloud: LocalDbtCloud) -> None:
    run_id = create_run(cloud, [[]])
    cloud.add_fault("/artifacts", html=True)
    with pytest.raises(DbtCloudConnectionError, match=f"runs/{run_id}/artifacts/run_results.json"):
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
    trigger = lifecycle.defer()
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
    # dbt's manifest shows which nodes may wait for each other. Seeds, the first step, wait for none.
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

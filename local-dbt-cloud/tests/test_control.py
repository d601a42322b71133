"""The control API below /local/: run statuses, the scheduler, recorded requests."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from local_dbt_cloud.run_status import RunStatus
from local_dbt_cloud.testing import Status, serve
from running_cloud import RunningCloud

RESULTS: dict[str, Any] = {"metadata": {}, "results": []}


def statuses(cloud: RunningCloud) -> list[str]:
    return [run["status_humanized"] for run in cloud.runs()]


def test_paused_scheduler_keeps_runs_queued(cloud: RunningCloud) -> None:
    cloud.pause()
    run_id = cloud.trigger(101, steps_override=["dbt deps"])["id"]
    time.sleep(0.3)
    assert statuses(cloud) == ["Queued"]
    cloud.resume()
    cloud.wait(run_id, until=lambda run: run["status"] > RunStatus.QUEUED)


@pytest.mark.parametrize("status", ["queued", "starting", "running", "success", "error", "cancelled"])
def test_created_run_has_the_timestamps_of_its_status(cloud: RunningCloud, status: Status) -> None:
    run_id = cloud.create_run(status, status_message="Because.", cause="a reason")
    run = cloud.get(f"runs/{run_id}/", include_related="trigger")
    assert run["status_humanized"].lower() == status
    assert (run["status_message"], run["trigger"]["cause"]) == ("Because.", "a reason")
    assert bool(run["dequeued_at"]) is (status not in ("queued", "cancelled"))
    assert bool(run["started_at"]) is (status in ("running", "success", "error"))
    assert bool(run["finished_at"]) is (status in ("success", "error", "cancelled"))


@pytest.mark.parametrize("time", ["2026-01-01T12:00:00", "2026-01-01T12:00:00Z", "2026-01-01T14:00:00+02:00"])
def test_creation_time_is_in_utc_by_default(cloud: RunningCloud, time: str) -> None:
    run_id = cloud.create_run(created_at=time)
    created_at = cloud.get(f"runs/{run_id}/")["created_at"]
    assert datetime.fromisoformat(created_at) == datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1969-12-31T23:59:59", "2999-01-01"]
)
def test_impossible_creation_time_is_rejected(cloud: RunningCloud, time: str) -> None:
    with pytest.raises(httpx.HTTPStatusError, match="a time between 1970 and now is needed"):
        cloud.create_run(created_at=time)
    assert cloud.runs() == []


def test_set_status_is_kept_until_the_run_is_ended(cloud: RunningCloud) -> None:
    cloud.pause()
    run_id = cloud.trigger(101)["id"]
    cloud.set_run(run_id, "running")
    # Neither a dispatch nor another trigger of the job changes it.
    cloud.resume()
    blocked = cloud.trigger(101)["id"]
    time.sleep(0.3)
    assert statuses(cloud) == ["Running", "Queued"]
    assert cloud.get(f"runs/{blocked}/")["blocked_by"] == [run_id]
    cloud.pause()
    cloud.set_run(run_id, "error", "It broke.")
    assert cloud.get(f"runs/{run_id}/")["status_message"] == "It broke."


def test_controlled_run_can_be_canceled(cloud: RunningCloud) -> None:
    run_id = cloud.create_run("running")
    assert cloud.cancel(run_id)["status_message"] == "Cancelled by user."


def test_end_active_runs_ends_only_active_runs(cloud: RunningCloud) -> None:
    for status in ("queued", "running", "error"):
        cloud.create_run(status)
    cloud.end_active_runs("success")
    assert statuses(cloud) == ["Success", "Success", "Error"]


def test_created_steps_have_artifacts_and_allow_a_retry(cloud: RunningCloud) -> None:
    cloud.pause()
    steps = [
        {"command": "dbt seed", "artifacts": {"run_results.json": RESULTS, "compiled/a.json": {"a": 1}}},
        {"command": "dbt build", "status": 20, "artifacts": {"run_results.json": {"results": [1]}}},
    ]
    run_id = cloud.create_run("error", steps=steps)
    run = cloud.get(f"runs/{run_id}/", include_related="run_steps")
    assert [(step["index"], step["name"], step["status"]) for step in run["run_steps"]] == [
        (4, "Invoke dbt with `dbt seed`", 10),
        (5, "Invoke dbt with `dbt build`", 20),
    ]
    assert cloud.client.get(f"runs/{run_id}/artifacts/run_results.json").json() == {"results": [1]}
    assert cloud.client.get(f"runs/{run_id}/artifacts/compiled/a.json?step=4").json() == {"a": 1}
    assert cloud.get(f"runs/{run_id}/retry/") == {"failed_step": "dbt build", "skipped_steps": []}
    assert cloud.post(f"runs/{run_id}/retry/")["retrying_run_id"] == run_id


@pytest.mark.parametrize(
    "path", ["../state.sqlite", "/etc/passwd", "", "a/../../b", "a\x00b", "x" * 256, "used/x"]
)
def test_invalid_artifact_path_is_rejected(cloud: RunningCloud, path: str) -> None:
    with pytest.raises(httpx.HTTPStatusError, match="400"):
        cloud.create_run("success", steps=[{"artifacts": {path: {}, "used": {}}}])
    assert cloud.runs() == []


@pytest.mark.end_to_end
def test_status_of_an_executing_run_cannot_be_set(cloud: RunningCloud) -> None:
    run_id = cloud.trigger(101)["id"]
    cloud.wait(run_id, until=lambda run: run["status"] == RunStatus.RUNNING)
    with pytest.raises(httpx.HTTPStatusError, match=f"dbt is executing run {run_id}: pause"):
        cloud.set_run(run_id, "success")


def test_requests_are_recorded_except_control_api(cloud: RunningCloud) -> None:
    cloud.clear_requests()
    cloud.get("runs/", status__in="[1, 2]")
    cloud.create_run()
    cloud.trigger(101)
    recorded = [(one["method"], one["path"], one["query"]) for one in cloud.requests()]
    assert recorded == [
        ("GET", "/api/v2/accounts/1/runs", "status__in=%5B1%2C+2%5D"),
        ("POST", "/api/v2/accounts/1/jobs/101/run", ""),
    ]
    assert cloud.token not in str(cloud.requests())


def test_requests_with_faults_are_recorded(cloud: RunningCloud) -> None:
    cloud.clear_requests()
    cloud.add_fault("/runs$", status=503)
    assert cloud.client.get("runs/").status_code == 503
    assert len(cloud.requests()) == 1


def test_faults_do_not_apply_to_the_control_api(cloud: RunningCloud) -> None:
    cloud.add_fault(".", status=503, times=None)
    run_id = cloud.create_run("running")
    assert [run["id"] for run in cloud.runs(101)] == [run_id]
    assert cloud.runs(102) == []
    cloud.clear_faults()
    assert cloud.faults() == []


def test_reset_restores_the_initial_state(cloud: RunningCloud) -> None:
    cloud.pause()
    cloud.trigger(101)
    cloud.add_fault("/runs", status=503)
    job: dict[str, Any] = {"name": "made by a test", "environment_id": 1, "execute_steps": ["dbt build"]}
    cloud.post("jobs/", job)
    cloud.reset()
    assert (cloud.runs(), cloud.faults(), cloud.requests()) == ([], [], [])
    assert [job["id"] for job in cloud.get("jobs/")] == [100, 101, 102]
    # IDs start at 1 again, and the scheduler is not paused.
    assert cloud.trigger(101)["id"] == 1
    cloud.wait(1, until=lambda run: run["status"] > RunStatus.QUEUED)


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("path", ["faults", "runs", "scheduler", "requests", "reset"])
def test_control_api_needs_the_token(cloud: RunningCloud, method: str, path: str) -> None:
    answer = cloud.client.request(method, f"{cloud.url}/local/{path}", headers={"Authorization": "Token no"})
    assert answer.status_code in (401, 405)
    assert cloud.client.request("GET", f"{cloud.url}/local/runs", headers={"Authorization": ""}).is_error


def test_only_if_active_does_not_change_an_ended_run(cloud: RunningCloud) -> None:
    run_id = cloud.create_run("running")
    cloud.cancel(run_id)
    cloud.set_run(run_id, "success", steps=[{"artifacts": {"a.json": {}}}], only_if_active=True)
    run = cloud.get(f"runs/{run_id}/", include_related="run_steps")
    assert (run["status_message"], run["run_steps"]) == ("Cancelled by user.", [])
    cloud.set_run(run_id, "success")
    assert statuses(cloud) == ["Success"]


def test_control_api_accepts_large_artifacts(cloud: RunningCloud) -> None:
    results = {"results": ["x" * 2_000_000]}
    run_id = cloud.create_run(steps=[{"artifacts": {"run_results.json": results}}])
    assert cloud.client.get(f"runs/{run_id}/artifacts/run_results.json").json() == results


def test_starting_records_no_requests(tmp_path: Path) -> None:
    with serve(tmp_path / "data") as cloud:
        assert cloud.account_id == 1
        assert cloud.requests() == []

"""Retry and rerun: when they are rejected, and which steps run again."""

from pathlib import Path
from typing import Any

import pytest

from local_dbt_cloud.database import utc_now
from local_dbt_cloud.run_status import RunStatus
from local_dbt_cloud.trigger_request import TriggerRequest
from running_cloud import RunningCloud
from tiny_account import FAILING, QUICK


def add_failed_run(cloud: RunningCloud, command: str, results: bool = True, **fields: Any) -> int:
    """Store a run that failed at its second of three dbt steps."""
    steps = [["dbt deps"], [command], ["dbt test"]]
    run_id = cloud.add_run(
        RunStatus.ERROR, dbt_steps=steps, started_at=utc_now(), finished_at=utc_now(), **fields
    )
    names = ["Clone git repository", "Create profile from connection DuckDB", "dbt deps", command]
    for index, name in enumerate(names, start=1):
        has_results = results and index == len(names)
        cloud.add_step(run_id, index, name, artifacts={"run_results.json": "{}"} if has_results else {})
    return run_id


def rejection_reason(cloud: RunningCloud, run_id: int) -> str:
    """Return why a run cannot be retried, after checking that all endpoints agree."""
    run = cloud.get(f"runs/{run_id}/")
    for method in ("GET", "POST"):
        answer = cloud.client.request(method, f"runs/{run_id}/retry/")
        assert answer.status_code == 400
        assert answer.json()["data"] == {"retry_not_supported_reason": run["retry_not_supported_reason"]}
    assert run["can_retry"] is False
    return run["retry_not_supported_reason"]


@pytest.mark.parametrize("status", [RunStatus.SUCCESS, RunStatus.CANCELLED, RunStatus.QUEUED])
def test_only_a_failed_run_can_be_retried(cloud: RunningCloud, status: RunStatus) -> None:
    assert rejection_reason(cloud, cloud.add_run(status)) == "RETRY_NOT_FAILED_RUN"


def test_only_the_latest_run_of_a_job_can_be_retried(cloud: RunningCloud) -> None:
    earlier = add_failed_run(cloud, "dbt build")
    add_failed_run(cloud, "dbt build", job_id=102)
    assert cloud.get(f"runs/{earlier}/")["can_retry"] is True
    cloud.add_run()
    assert rejection_reason(cloud, earlier) == "RETRY_NOT_LATEST_RUN"


@pytest.mark.parametrize("version", ["1.5.2", "1.5.0-latest", "0.21.1"])
def test_run_of_a_dbt_version_without_retry_cannot_be_retried(cloud: RunningCloud, version: str) -> None:
    assert (
        rejection_reason(cloud, add_failed_run(cloud, "dbt build", dbt_version=version))
        == "RETRY_UNSUPPORTED_VERSION"
    )


@pytest.mark.parametrize("command", ["dbt source freshness", "dbt list", "dbt --quiet parse", "dbt deps"])
def test_unsupported_command_cannot_be_retried(cloud: RunningCloud, command: str) -> None:
    assert rejection_reason(cloud, add_failed_run(cloud, command)) == "RETRY_UNSUPPORTED_CMD"


def test_run_without_dbt_steps_cannot_be_retried(cloud: RunningCloud) -> None:
    assert rejection_reason(cloud, cloud.add_run(RunStatus.ERROR)) == "RETRY_UNSUPPORTED_CMD"


def test_run_of_a_deleted_job_cannot_be_retried(cloud: RunningCloud) -> None:
    run_id = add_failed_run(cloud, "dbt build")
    assert cloud.client.delete("jobs/101/").status_code == 200
    assert rejection_reason(cloud, run_id) == "RETRY_UNSUPPORTED_CMD"


def test_run_of_a_moved_job_cannot_be_retried(cloud: RunningCloud) -> None:
    assert (
        rejection_reason(cloud, add_failed_run(cloud, "dbt build", environment_id=2))
        == "RETRY_UNSUPPORTED_CMD"
    )


def test_step_without_run_results_cannot_be_retried(cloud: RunningCloud) -> None:
    assert (
        rejection_reason(cloud, add_failed_run(cloud, "dbt build", results=False)) == "RETRY_NO_RUN_RESULTS"
    )


def test_retryable_run_reports_its_failed_step(cloud: RunningCloud) -> None:
    run_id = add_failed_run(cloud, "dbt docs generate --no-compile", dbt_version="1.6.0")
    run = cloud.get(f"runs/{run_id}/")
    assert (run["can_retry"], run["retry_not_supported_reason"]) == (True, None)
    assert cloud.get(f"runs/{run_id}/retry/") == {
        "failed_step": "dbt docs generate --no-compile",
        "skipped_steps": ["dbt test"],
    }


def test_retry_keeps_the_overrides_of_the_failed_run(cloud: RunningCloud) -> None:
    trigger = TriggerRequest(cause="first", schema_override="elsewhere", threads_override=3)
    run_id = add_failed_run(cloud, "dbt build", trigger=trigger.model_dump())
    retry = cloud.post(f"runs/{run_id}/retry/")
    assert retry["retrying_run_id"] == run_id
    assert retry["status_humanized"] == "Queued"
    assert retry["trigger"]["cause"] == f"Retry of run {run_id}"
    assert retry["trigger"]["cause_category"] == "rerun"
    assert (retry["trigger"]["schema_override"], retry["trigger"]["threads_override"]) == ("elsewhere", 3)
    cloud.cancel(retry["id"])


def test_rerun_of_a_job_without_runs_is_a_new_run(cloud: RunningCloud) -> None:
    run = cloud.post("jobs/101/rerun/")
    assert (run["retrying_run_id"], run["trigger"]["cause_category"]) == (None, "rerun")
    cloud.cancel(run["id"])
    assert cloud.client.post("jobs/7/rerun/").status_code == 404


def results(cloud: RunningCloud, run_id: int, step: int) -> dict[str, str]:
    path = f"runs/{run_id}/artifacts/run_results.json"
    found = cloud.client.get(path, params={"step": step}).json()["results"]
    return {result["unique_id"].rpartition(".")[2]: result["status"] for result in found}


def commands(run: dict[str, Any]) -> list[str]:
    return [step["run_step_command"]["dbt_command"] for step in run["run_steps"][2:]]


@pytest.mark.end_to_end
def test_retries_run_only_failed_and_skipped_steps(tiny_cloud: RunningCloud, tmp_path: Path) -> None:
    steps = ["dbt run --select one broken", "dbt run --select one"]
    failed = tiny_cloud.wait(tiny_cloud.trigger(FAILING, steps_override=steps, schema_override="other")["id"])
    assert results(tiny_cloud, failed["id"], 4) == {"one": "success", "broken": "error"}
    assert tiny_cloud.get(f"runs/{failed['id']}/retry/") == {
        "failed_step": steps[0],
        "skipped_steps": steps[1:],
    }

    # The retry runs only the failed model, and fails again.
    again = tiny_cloud.wait(tiny_cloud.post(f"runs/{failed['id']}/retry/")["id"])
    assert again["status_humanized"] == "Error"
    assert results(tiny_cloud, again["id"], 4) == {"broken": "error"}

    # A retry of the retry, with a fixed model, also runs the skipped step.
    (tmp_path / "tiny" / "models" / "broken.sql").write_text("select 1 as n")
    fixed = tiny_cloud.wait(tiny_cloud.post(f"jobs/{FAILING}/rerun/")["id"])
    assert fixed["status_humanized"] == "Success"
    assert fixed["retrying_run_id"] == again["id"]
    assert commands(fixed) == ["dbt deps", "dbt retry", "dbt run --select one"]
    assert results(tiny_cloud, fixed["id"], 4) == {"broken": "success"}
    log = fixed["run_steps"][3]["logs"]
    assert "other.broken" in log

    # After a success a rerun is a new run of the whole job.
    fresh = tiny_cloud.wait(tiny_cloud.post(f"jobs/{FAILING}/rerun/")["id"])
    assert (fresh["status_humanized"], fresh["retrying_run_id"]) == ("Success", None)
    assert commands(fresh) == ["dbt deps", "dbt run --select broken"]


@pytest.mark.end_to_end
def test_rerun_after_an_unsupported_failure_is_a_new_run(tiny_cloud: RunningCloud) -> None:
    failed = tiny_cloud.wait(
        tiny_cloud.trigger(QUICK, steps_override=["dbt run --select one --nonsense"])["id"]
    )
    assert failed["retry_not_supported_reason"] == "RETRY_NO_RUN_RESULTS"
    run = tiny_cloud.wait(tiny_cloud.post(f"jobs/{QUICK}/rerun/")["id"])
    assert (run["status_humanized"], run["retrying_run_id"]) == ("Success", None)

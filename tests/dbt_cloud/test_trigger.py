"""The trigger and the operator: each end of a run is told apart, and waiting is patient."""

import asyncio
import time
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from include.dbt_cloud.errors import (
    DbtCloudJobRunCancelled,
    DbtCloudJobRunFailed,
    DbtCloudJobRunLost,
    DbtCloudJobRunTimedOut,
)
from include.dbt_cloud.operator import DbtCloudRunJobOperator
from include.dbt_cloud.trigger import DbtCloudRunJobTrigger
from include.local_dbt_cloud.store import RunStatus
from tests.running_cloud import RunningCloud


def trigger_for(run_id: int, **more: Any) -> DbtCloudRunJobTrigger:
    arguments = {"end_time": time.time() + 60, "poll_interval": 0.05, "account_id": None, **more}
    # As Airflow hands it over to the triggerer.
    _, serialized = DbtCloudRunJobTrigger("dbt_conn", run_id, **arguments).serialize()
    return DbtCloudRunJobTrigger(**serialized)


def event_of(trigger: DbtCloudRunJobTrigger) -> dict[str, Any]:
    async def fire() -> dict[str, Any]:
        return (await anext(trigger.run())).payload

    return asyncio.run(asyncio.wait_for(fire(), 30))


def fault(cloud: RunningCloud, **fields: Any) -> None:
    cloud.post(f"{cloud.api_url}/local/faults", fields)


@pytest.fixture
def operator() -> DbtCloudRunJobOperator:
    return DbtCloudRunJobOperator(
        task_id="trigger_job", dbt_cloud_conn_id="dbt_conn", job_id=101, trigger_reason="x", deferrable=True
    )


@pytest.mark.parametrize(
    ("status", "name", "error"),
    [
        (RunStatus.ERROR, "error", DbtCloudJobRunFailed),
        (RunStatus.CANCELLED, "cancelled", DbtCloudJobRunCancelled),
    ],
)
def test_a_run_that_ended_badly_fails_the_task_in_a_class_of_its_own(
    cloud: RunningCloud,
    operator: DbtCloudRunJobOperator,
    status: RunStatus,
    name: str,
    error: type[Exception],
) -> None:
    run_id = cloud.add_run(status, status_message="Because.")
    event = event_of(trigger_for(run_id))
    assert event["status"] == name
    with pytest.raises(
        error, match=rf"Run {run_id} of dbt Cloud ended: {status.name.capitalize()}\. Because\."
    ):
        operator.execute_complete({}, event)


def test_a_run_that_somebody_cancelled_is_not_retried() -> None:
    assert issubclass(DbtCloudJobRunCancelled, AirflowFailException)
    assert not issubclass(DbtCloudJobRunLost, AirflowFailException)


def test_a_run_that_succeeded_is_the_tasks_result(
    cloud: RunningCloud, operator: DbtCloudRunJobOperator
) -> None:
    run_id = cloud.add_run()
    assert operator.execute_complete({}, event_of(trigger_for(run_id))) == run_id


def test_a_run_that_is_out_of_sight_for_too_long_is_lost_and_not_judged(
    cloud: RunningCloud, operator: DbtCloudRunJobOperator
) -> None:
    run_id = cloud.add_run(RunStatus.RUNNING)
    fault(cloud, path="/runs", status=503, times=None)
    event = event_of(trigger_for(run_id, patience=0.5))
    assert event["status"] == "lost"
    with pytest.raises(DbtCloudJobRunLost, match=f"run {run_id} .* never seen: .*503.* may still go on"):
        operator.execute_complete({}, event)


def test_an_unknown_status_is_waited_out_and_then_named(cloud: RunningCloud) -> None:
    run_id = cloud.add_run()
    fault(cloud, path="/runs", run_status=42, times=5)
    assert event_of(trigger_for(run_id))["status"] == "success"
    fault(cloud, path="/runs", run_status=42, times=None)
    assert "its status is 42" in event_of(trigger_for(run_id, patience=0.5))["message"]


def test_a_run_that_takes_too_long_is_cancelled_at_the_execution_timeout_alone(
    cloud: RunningCloud, operator: DbtCloudRunJobOperator
) -> None:
    run_id = cloud.add_run(RunStatus.RUNNING)
    waited = event_of(trigger_for(run_id, end_time=time.time() + 0.5))
    with pytest.raises(DbtCloudJobRunTimedOut, match="longer than the task's timeout: it was running"):
        operator.execute_complete({}, waited)
    assert cloud.get(f"runs/{run_id}/")["status_humanized"] == "Running"
    timed_out = event_of(trigger_for(run_id, execution_deadline=time.time() + 0.5))
    with pytest.raises(DbtCloudJobRunTimedOut, match="longer than the task's execution_timeout"):
        operator.execute_complete({}, timed_out)
    assert cloud.get(f"runs/{run_id}/")["status_humanized"] == "Cancelled"


def test_the_real_error_is_not_masked_by_another(
    cloud: RunningCloud, operator: DbtCloudRunJobOperator
) -> None:
    event = event_of(trigger_for(cloud.add_run(RunStatus.ERROR)))
    fault(cloud, path=".", status=404, times=None)
    with pytest.raises(DbtCloudJobRunFailed):
        operator.execute_complete({}, event)


@pytest.mark.parametrize("event", [None, {}, {"status": "new"}])
def test_an_event_that_makes_no_sense_is_no_verdict(operator: DbtCloudRunJobOperator, event: Any) -> None:
    with pytest.raises(DbtCloudJobRunLost):
        operator.execute_complete({}, event)


def test_whoever_kills_the_waiting_task_cancels_the_run(cloud: RunningCloud) -> None:
    run_id = cloud.add_run(RunStatus.RUNNING)
    fault(cloud, method="POST", path="/cancel$", status=503)
    asyncio.run(trigger_for(run_id).on_kill())
    assert cloud.get(f"runs/{run_id}/")["status_humanized"] == "Cancelled"


class TaskInstance:
    dag_id, run_id, task_id, map_index, try_number, max_tries = "a_dag", "a_run", "trigger_job", -1, 1, 0

    def xcom_push(self, key: str, value: Any) -> None:
        pass


@pytest.mark.parametrize("trouble", [{}, {"hide_new_runs": 60}, {"status": 404}, {"run_status": 42}])
def test_the_operator_defers_to_the_trigger_also_when_its_run_is_not_to_be_seen_yet(
    cloud: RunningCloud, operator: DbtCloudRunJobOperator, trouble: dict[str, Any]
) -> None:
    if trouble:
        fault(cloud, method="GET", path="/runs", times=None, **trouble)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute({"ti": TaskInstance()})
    cloud.service.faults.clear()
    assert isinstance(deferred.value.trigger, DbtCloudRunJobTrigger)
    (run,) = cloud.get("runs/")
    assert deferred.value.trigger.run_id == run["id"]
    cloud.cancel(run["id"])


def test_a_run_that_ended_before_the_operator_could_wait_is_judged_at_once(
    cloud: RunningCloud, operator: DbtCloudRunJobOperator
) -> None:
    fault(cloud, path="/run", run_status=20, times=None)
    with pytest.raises(DbtCloudJobRunFailed):
        operator.execute({"ti": TaskInstance()})
    cloud.cancel(operator.run_id)


@pytest.mark.parametrize("trouble", [{}, {"status": 503}, {"drop": "before"}, {"drop": "after"}])
def test_a_task_that_is_killed_while_it_holds_a_worker_cancels_its_run(
    cloud: RunningCloud, operator: DbtCloudRunJobOperator, trouble: dict[str, Any]
) -> None:
    operator.run_id = cloud.add_run(RunStatus.RUNNING)
    if trouble:
        fault(cloud, method="POST", path="/cancel$", **trouble)
    operator.on_kill()
    assert cloud.get(f"runs/{operator.run_id}/")["status_humanized"] == "Cancelled"


def test_a_kill_does_not_hang_when_dbt_cloud_is_gone(
    cloud: RunningCloud, operator: DbtCloudRunJobOperator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("include.dbt_cloud.hook.SECONDS_TO_CANCEL", 2)
    operator.run_id = cloud.add_run(RunStatus.RUNNING)
    fault(cloud, method="POST", path="/cancel$", status=503, times=None)
    operator.on_kill()
    assert cloud.get(f"runs/{operator.run_id}/")["status_humanized"] == "Running"

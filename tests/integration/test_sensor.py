"""The sensor tolerates outages as the operator does, raises the same errors, and never cancels a run."""

import asyncio
import json
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred
from local_dbt_cloud.testing import LocalDbtCloud, Status

from include.dbt_cloud.exceptions import (
    DbtCloudJobRunNotSucceeded,
    DbtCloudJobRunTimedOut,
    DbtCloudResponseError,
)
from include.dbt_cloud.sensor import DbtCloudJobRunSensor
from include.dbt_cloud.trigger import DbtCloudRunJobTrigger
from tests.task_instance import context


def sensor(run_id: Any, **more: Any) -> DbtCloudJobRunSensor:
    arguments = {"dbt_cloud_conn_id": "dbt_conn", "deferrable": True, "poke_interval": 0.05, **more}
    return DbtCloudJobRunSensor(task_id="wait_for_job", run_id=run_id, **arguments)


def deferred(of: DbtCloudJobRunSensor) -> DbtCloudRunJobTrigger:
    with pytest.raises(TaskDeferred) as deferral:
        of.execute({})
    _, arguments = deferral.value.trigger.serialize()
    return DbtCloudRunJobTrigger(**json.loads(json.dumps(arguments)))


# Templates render numbers as text.
@pytest.mark.parametrize("kind", [int, str])
def test_it_waits_for_the_run(cloud: LocalDbtCloud, kind: type) -> None:
    run_id = cloud.create_run("running")
    trigger = deferred(sensor(kind(run_id)))
    cloud.add_fault("/runs", status=503, times=3)
    cloud.end_active_runs()
    event = asyncio.run(trigger.wait()).payload
    assert sensor(kind(run_id)).execute_complete({}, event) == run_id


@pytest.mark.parametrize("status", ["error", "cancelled"])
def test_a_failed_or_canceled_run_fails_the_sensor_for_good(cloud: LocalDbtCloud, status: Status) -> None:
    run_id = cloud.create_run("running")
    trigger = deferred(sensor(run_id))
    cloud.end_active_runs(status)
    message = rf"dbt Cloud run {run_id} ended: {status.capitalize()}.*See http"
    with pytest.raises(DbtCloudJobRunNotSucceeded, match=message) as error:
        sensor(run_id).execute_complete({}, asyncio.run(trigger.wait()).payload)
    assert isinstance(error.value, AirflowFailException)
    for is_deferrable in (True, False):
        with pytest.raises(DbtCloudJobRunNotSucceeded, match=message):
            sensor(run_id, deferrable=is_deferrable).execute(context())


def test_neither_its_timeout_nor_a_kill_cancels_the_run(cloud: LocalDbtCloud) -> None:
    run_id = cloud.create_run("running")
    trigger = deferred(sensor(run_id, timeout=0.5))
    with pytest.raises(DbtCloudJobRunTimedOut):
        sensor(run_id).execute_complete({}, asyncio.run(trigger.wait()).payload)
    asyncio.run(trigger.on_kill())
    assert cloud.get(f"runs/{run_id}/")["status_humanized"] == "Running"


@pytest.mark.parametrize("status", ["wait_timeout", "unreachable"])
def test_a_run_that_ended_while_no_triggerer_ran_counts(cloud: LocalDbtCloud, status: str) -> None:
    event = {"status": status, "run_id": cloud.create_run(), "message": "Not polled."}
    assert sensor(event["run_id"]).execute_complete({}, event) == event["run_id"]
    event["run_id"] = failed = cloud.create_run("error")
    with pytest.raises(DbtCloudJobRunNotSucceeded, match=f"dbt Cloud run {failed} ended: Error"):
        sensor(failed).execute_complete({}, event)


def test_the_event_of_another_trigger_is_ignored(cloud: LocalDbtCloud) -> None:
    run_id = cloud.create_run("running")
    with pytest.raises(TaskDeferred) as first:
        sensor(run_id, timeout=600).execute({})
    # The task that pushed the run's ID may have been cleared meanwhile.
    resumed = sensor(None)
    event = {"status": "cancelled", "run_id": 7, "message": ""}
    with pytest.raises(TaskDeferred) as second:
        resumed.execute_complete({}, event, **json.loads(json.dumps(first.value.kwargs)))
    assert second.value.trigger.serialize() == first.value.trigger.serialize()
    kwargs = second.value.kwargs or {}
    assert kwargs == first.value.kwargs
    cloud.end_active_runs()
    event = {"status": "unreachable", "run_id": run_id, "message": ""}
    assert resumed.execute_complete({}, event, **kwargs) == run_id


@pytest.mark.parametrize("fault", [{"status": 404}, {"run_status": 42}, {"html": True}], ids=str)
@pytest.mark.parametrize("is_deferrable", [True, False])
def test_a_first_poll_without_a_status_does_not_fail_the_sensor(
    cloud: LocalDbtCloud, is_deferrable: bool, fault: dict[str, Any]
) -> None:
    run_id = cloud.create_run()
    cloud.add_fault(f"/runs/{run_id}", **fault)
    waiting = sensor(run_id, deferrable=is_deferrable)
    if is_deferrable:
        assert asyncio.run(deferred(waiting).wait()).payload["status"] == "success"
    else:
        waiting.execute(context())


@pytest.mark.parametrize("status", [401, 403, 400])
def test_a_rejected_request_is_not_repeated(cloud: LocalDbtCloud, status: int) -> None:
    run_id = cloud.create_run("running")
    cloud.add_fault(f"/runs/{run_id}", status=status, times=9)
    with pytest.raises(DbtCloudResponseError, match=str(status)):
        sensor(run_id, deferrable=False).execute(context())


def test_a_run_that_has_ended_is_not_waited_for(cloud: LocalDbtCloud) -> None:
    # A deferral would raise.
    sensor(cloud.create_run()).execute({})

"""The trigger and the operator distinguish the ends of a run and tolerate outages."""

import asyncio
import threading
import time
from typing import Any, cast
from unittest.mock import MagicMock

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowTaskTimeout, TaskDeferred
from local_dbt_cloud.testing import LocalDbtCloud, Status

from include.dbt_cloud.exceptions import (
    DbtCloudJobRunCancelled,
    DbtCloudJobRunFailed,
    DbtCloudJobRunTimedOut,
    DbtCloudJobRunUnreachable,
)
from include.dbt_cloud.operator import DbtCloudRunJobOperator
from include.dbt_cloud.trigger import SCHEDULER_MARGIN, DbtCloudRunJobTrigger
from tests.connection import connect
from tests.task_instance import TaskInstance, TaskStates, context
from tests.waiting import wait_until


def trigger_for(run_id: int, **more: Any) -> DbtCloudRunJobTrigger:
    arguments = {"end_time": time.time() + 60, "poll_interval": 0.05, "account_id": None, **more}
    arguments["hook_params"] = {"retry_delay": 0.01, "max_requests_per_minute": 6000}
    # As Airflow hands it over to the triggerer.
    _, serialized = DbtCloudRunJobTrigger("dbt_conn", run_id, **arguments).serialize()
    trigger = DbtCloudRunJobTrigger(**serialized)
    trigger.task_instance = cast("Any", TaskInstance())
    return trigger


def event_of(trigger: DbtCloudRunJobTrigger) -> dict[str, Any]:
    return asyncio.run(asyncio.wait_for(trigger.wait(), 30)).payload


@pytest.fixture
def operator() -> DbtCloudRunJobOperator:
    return DbtCloudRunJobOperator(
        task_id="trigger_job",
        dbt_cloud_conn_id="dbt_conn",
        job_id=101,
        trigger_reason="x",
        deferrable=True,
        hook_params={"retry_delay": 0.01},
    )


@pytest.mark.parametrize(
    ("status", "name", "error"),
    [
        ("error", "error", DbtCloudJobRunFailed),
        ("cancelled", "cancelled", DbtCloudJobRunCancelled),
    ],
)
def test_each_bad_end_of_a_run_raises_its_own_exception(
    cloud: LocalDbtCloud,
    operator: DbtCloudRunJobOperator,
    status: Status,
    name: str,
    error: type[Exception],
) -> None:
    run_id = cloud.create_run(status, status_message="Because.")
    event = event_of(trigger_for(run_id))
    assert event["status"] == name
    with pytest.raises(
        error, match=rf"dbt Cloud run {run_id} ended: {status.capitalize()}\. Because\. See http"
    ):
        operator.execute_complete(context(), event)


def test_a_canceled_run_is_not_retried_but_an_unreachable_one_is() -> None:
    assert issubclass(DbtCloudJobRunCancelled, AirflowFailException)
    assert not issubclass(DbtCloudJobRunUnreachable, AirflowFailException)


def test_a_run_that_succeeded_is_the_tasks_result(
    cloud: LocalDbtCloud, operator: DbtCloudRunJobOperator
) -> None:
    run_id = cloud.create_run()
    assert operator.execute_complete(context(), event_of(trigger_for(run_id))) == run_id


def test_a_run_that_is_unreachable_for_too_long_is_reported_as_such(
    cloud: LocalDbtCloud, operator: DbtCloudRunJobOperator
) -> None:
    run_id = cloud.create_run("running")
    cloud.add_fault("/runs", status=503, times=None)
    event = event_of(trigger_for(run_id, outage_tolerance=0.5))
    assert event["status"] == "unreachable"
    with pytest.raises(
        DbtCloudJobRunUnreachable,
        match=f"Lost contact with dbt Cloud run {run_id} .* last error: 503.* may still be active",
    ):
        operator.execute_complete(context(), event)


def test_an_unknown_status_is_tolerated_for_a_while_and_then_named(cloud: LocalDbtCloud) -> None:
    run_id = cloud.create_run()
    cloud.add_fault("/runs", run_status=42, times=5)
    assert event_of(trigger_for(run_id))["status"] == "success"
    cloud.add_fault("/runs", run_status=42, times=None)
    assert "unknown status 42" in event_of(trigger_for(run_id, outage_tolerance=0.5))["message"]


def test_only_the_execution_timeout_cancels_the_run(
    cloud: LocalDbtCloud, operator: DbtCloudRunJobOperator
) -> None:
    run_id = cloud.create_run("running")
    waited = event_of(trigger_for(run_id, end_time=time.time() + 0.5))
    with pytest.raises(
        DbtCloudJobRunTimedOut, match=r"the task's timeout \(last status: Running\)\. It may still be active"
    ):
        operator.execute_complete(context(), waited)
    assert cloud.get(f"runs/{run_id}/")["status_humanized"] == "Running"
    timed_out = event_of(trigger_for(run_id, execution_deadline=time.time() + 0.5))
    with pytest.raises(DbtCloudJobRunTimedOut, match="exceeded the task's execution_timeout"):
        operator.execute_complete(context(), timed_out)
    assert cloud.get(f"runs/{run_id}/")["status_humanized"] == "Cancelled"


@pytest.mark.parametrize(("state", "status"), [("deferred", "Running"), (OSError("no answer"), "Cancelled")])
def test_an_execution_timeout_of_a_stalled_worker_cancels_no_run(
    cloud: LocalDbtCloud,
    operator: DbtCloudRunJobOperator,
    task_states: TaskStates,
    state: str | Exception,
    status: str,
) -> None:
    run_id = cloud.create_run("running")
    task_states.current = state
    timed_out = event_of(trigger_for(run_id, execution_deadline=time.time() + 0.1))
    with pytest.raises(DbtCloudJobRunTimedOut):
        operator.execute_complete(context(), timed_out)
    assert cloud.get(f"runs/{run_id}/")["status_humanized"] == status


def test_the_real_error_is_not_masked_by_another(
    cloud: LocalDbtCloud, operator: DbtCloudRunJobOperator
) -> None:
    event = event_of(trigger_for(cloud.create_run("error")))
    cloud.add_fault(".", status=404, times=None)
    with pytest.raises(DbtCloudJobRunFailed):
        operator.execute_complete(context(), event)


@pytest.mark.parametrize("event", [None, {}, {"status": "new"}])
def test_an_unexpected_event_does_not_decide_the_outcome(
    operator: DbtCloudRunJobOperator, event: Any
) -> None:
    with pytest.raises(DbtCloudJobRunUnreachable):
        operator.execute_complete(context(), event)


@pytest.mark.parametrize(
    "state", ["deferred", "running", "up_for_retry", "scheduled", "queued", ConnectionError()], ids=str
)
def test_a_stalled_triggerer_that_was_replaced_cancels_nothing(
    cloud: LocalDbtCloud, task_states: TaskStates, state: str | Exception
) -> None:
    task_states.current = state
    run_id = cloud.create_run("running")
    asyncio.run(trigger_for(run_id).on_kill())
    assert cloud.get(f"runs/{run_id}/")["status_humanized"] == "Running"


@pytest.mark.parametrize(
    "state", ["running", "up_for_retry", "queued", "deferred", ConnectionError()], ids=str
)
def test_a_stalled_or_stopped_worker_cancels_nothing(
    held: LocalDbtCloud, operator: DbtCloudRunJobOperator, task_states: TaskStates, state: str | Exception
) -> None:
    with pytest.raises(TaskDeferred):
        operator.execute(context())
    task_states.current = state
    operator.on_kill()
    assert held.get(f"runs/{operator.run_id}/")["status_humanized"] == "Queued"


def test_on_kill_outlasts_its_own_cancellation(cloud: LocalDbtCloud, task_states: TaskStates) -> None:
    run_id = cloud.create_run("running")
    task_states.current = "failed"
    get_task_states = task_states.get_task_states
    answering = threading.Event()

    def answer_slowly(*args: Any, **more: Any) -> Any:
        answering.wait(10)
        return get_task_states(*args, **more)

    async def kill() -> None:
        with pytest.MonkeyPatch.context() as patch:
            method = "airflow.sdk.execution_time.task_runner.RuntimeTaskInstance.get_task_states"
            patch.setattr(method, answer_slowly)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(trigger_for(run_id).on_kill(), 0.1)
            answering.set()
            status = "Running"
            while status == "Running":
                run = await asyncio.to_thread(cloud.get, f"runs/{run_id}/")
                status = run["status_humanized"]
        assert status == "Cancelled"

    asyncio.run(asyncio.wait_for(kill(), 30))


@pytest.mark.parametrize("state", ["failed", "success", "deleted", None])
def test_a_person_who_ends_the_deferred_task_cancels_the_run(
    cloud: LocalDbtCloud, task_states: TaskStates, state: str | None
) -> None:
    task_states.current = state
    run_id = cloud.create_run("running")
    cloud.add_fault("/cancel$", method="POST", status=503)
    asyncio.run(trigger_for(run_id).on_kill())
    assert cloud.get(f"runs/{run_id}/")["status_humanized"] == "Cancelled"


def test_the_operator_defers_without_polling_its_run(
    cloud: LocalDbtCloud, operator: DbtCloudRunJobOperator
) -> None:
    # dbt Cloud may not show a new run at first, which the trigger tolerates.
    cloud.add_fault("/runs", method="GET", hide_new_runs=60, times=None)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context())
    assert [one["times"] for one in cloud.faults()] == [None]
    cloud.clear_faults()
    assert isinstance(deferred.value.trigger, DbtCloudRunJobTrigger)
    (run,) = cloud.get("runs/")
    assert deferred.value.trigger.run_id == run["id"]
    cloud.cancel(run["id"])


def test_the_outage_tolerance_allows_at_least_three_polls(cloud: LocalDbtCloud) -> None:
    run_id = cloud.create_run("running")
    event = event_of(trigger_for(run_id, poll_interval=0.3, outage_tolerance=0.1, end_time=time.time() + 0.7))
    assert event["status"] == "wait_timeout"


@pytest.mark.parametrize(
    ("status", "event", "expected"),
    [
        # The run ended during an outage, or just before the trigger gave up.
        ("success", "unreachable", None),
        ("success", "wait_timeout", None),
        ("success", "timeout", None),
        # The stock trigger says error when only a poll failed.
        ("success", "error", None),
        ("error", "unreachable", DbtCloudJobRunFailed),
        ("cancelled", "unreachable", DbtCloudJobRunCancelled),
        ("running", "unreachable", DbtCloudJobRunUnreachable),
        ("running", "wait_timeout", DbtCloudJobRunTimedOut),
    ],
)
def test_the_outcome_is_the_one_that_dbt_cloud_reports(
    cloud: LocalDbtCloud,
    operator: DbtCloudRunJobOperator,
    status: Status,
    event: str,
    expected: type[Exception] | None,
) -> None:
    run_id = cloud.create_run(status)
    # As the provider's trigger writes it.
    facts = {"status": event, "run_id": run_id, "message": "It said so."}
    if expected is None:
        assert operator.execute_complete(context(), facts) == run_id
    else:
        with pytest.raises(expected):
            operator.execute_complete(context(), facts)


def test_a_cancel_that_fails_is_reported(
    cloud: LocalDbtCloud, operator: DbtCloudRunJobOperator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("include.dbt_cloud.hook.CANCEL_TIMEOUT", 0.2)
    event = event_of(trigger_for(cloud.create_run("running"), execution_deadline=time.time() + 0.5))
    cloud.add_fault("/cancel$", method="POST", status=503, times=None)
    with pytest.raises(DbtCloudJobRunTimedOut, match=r"See http.* not be canceled: cancel it in dbt Cloud"):
        operator.execute_complete(context(), event)


def test_a_timeout_while_results_are_read_does_not_change_the_outcome(
    cloud: LocalDbtCloud, operator: DbtCloudRunJobOperator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_late(*_: Any) -> None:
        raise AirflowTaskTimeout

    monkeypatch.setattr("include.dbt_cloud.operator.read_run_results", too_late)
    event = event_of(trigger_for(cloud.create_run()))
    assert operator.execute_complete(context(), event) == event["run_id"]


def test_a_run_that_ended_before_the_operator_deferred_is_reported_at_once(
    cloud: LocalDbtCloud, operator: DbtCloudRunJobOperator
) -> None:
    cloud.add_fault("/run", run_status=20, times=None)
    with pytest.raises(DbtCloudJobRunFailed):
        operator.execute(context())
    assert operator.run_id
    cloud.cancel(operator.run_id)


@pytest.mark.parametrize("trouble", [{}, {"status": 503}, {"drop": "before"}, {"drop": "after"}])
def test_a_task_killed_on_a_worker_cancels_its_run(
    held: LocalDbtCloud, operator: DbtCloudRunJobOperator, trouble: dict[str, Any], task_states: TaskStates
) -> None:
    task_states.current = "failed"
    with pytest.raises(TaskDeferred):
        operator.execute(context())
    if trouble:
        held.add_fault("/cancel$", method="POST", **trouble)
    operator.on_kill()
    assert held.get(f"runs/{operator.run_id}/")["status_humanized"] == "Cancelled"


def test_a_kill_during_a_request_to_airflow_cancels_the_run_after_it(
    held: LocalDbtCloud,
    operator: DbtCloudRunJobOperator,
    monkeypatch: pytest.MonkeyPatch,
    task_states: TaskStates,
) -> None:
    task_states.current = "failed"
    get_task_states, lock = task_states.get_task_states, threading.Lock()

    def ask(*args: Any, **more: Any) -> Any:
        with lock:
            return get_task_states(*args, **more)

    method = "airflow.sdk.execution_time.task_runner.RuntimeTaskInstance.get_task_states"
    monkeypatch.setattr(method, ask)
    monkeypatch.setattr("include.dbt_cloud.operator.STATE_TIMEOUT", 0.1)
    with pytest.raises(TaskDeferred):
        operator.execute(context())
    with lock:
        operator.on_kill()
    wait_until(lambda: held.get(f"runs/{operator.run_id}/")["status_humanized"] == "Cancelled")


def test_cancel_on_kill_can_be_turned_off(
    held: LocalDbtCloud, operator: DbtCloudRunJobOperator, task_states: TaskStates
) -> None:
    task_states.current = "failed"
    operator.cancel_on_kill = False
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context())
    operator.on_kill()
    asyncio.run(deferred.value.trigger.on_kill())
    assert held.get(f"runs/{operator.run_id}/")["status_humanized"] == "Queued"


def test_a_kill_does_not_hang_when_dbt_cloud_is_gone(
    held: LocalDbtCloud,
    operator: DbtCloudRunJobOperator,
    monkeypatch: pytest.MonkeyPatch,
    task_states: TaskStates,
) -> None:
    task_states.current = "failed"
    monkeypatch.setattr("include.dbt_cloud.hook.CANCEL_TIMEOUT", 0.2)
    with pytest.raises(TaskDeferred):
        operator.execute(context())
    held.add_fault("/cancel$", method="POST", status=503, times=None)
    operator.on_kill()
    assert held.get(f"runs/{operator.run_id}/")["status_humanized"] == "Queued"


def test_a_kill_cancels_also_when_the_connection_has_no_account_id(
    held: LocalDbtCloud,
    operator: DbtCloudRunJobOperator,
    monkeypatch: pytest.MonkeyPatch,
    task_states: TaskStates,
) -> None:
    operator.account_id = 1
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context())
    connect(monkeypatch, held.host, login="")
    task_states.current = "failed"
    deferred.value.trigger.task_instance = TaskInstance()
    asyncio.run(deferred.value.trigger.on_kill())
    assert held.get(f"runs/{operator.run_id}/")["status_humanized"] == "Cancelled"


def test_an_outage_is_logged_once_when_it_begins_and_once_when_it_ends(
    cloud: LocalDbtCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = cloud.create_run("running")
    trigger = trigger_for(run_id)
    log = MagicMock()
    monkeypatch.setattr(DbtCloudRunJobTrigger, "log", log)

    async def wait_through_an_outage() -> None:
        waiting = asyncio.create_task(trigger.wait())
        await asyncio.sleep(0.3)
        await asyncio.to_thread(cloud.add_fault, "/runs", status=503, times=None)
        await asyncio.sleep(0.5)
        await asyncio.to_thread(cloud.clear_faults)
        await asyncio.sleep(0.3)
        await asyncio.to_thread(cloud.set_run, run_id, "success")
        await asyncio.wait_for(waiting, 20)

    asyncio.run(wait_through_an_outage())
    assert [call.args[0] % call.args[1:] for call in log.warning.mock_calls] == [
        f"Lost contact with dbt Cloud run {run_id}: 503, message='Service Unavailable'"
    ]
    (ended,) = log.info.mock_calls
    assert ended.args[:2] == ("dbt Cloud run %s can be polled again, after %.0f seconds.", run_id)


def test_the_task_resumes_only_after_airflow_has_noticed_the_end_of_its_process(
    cloud: LocalDbtCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL", "1000")
    sleep, pauses = asyncio.sleep, []

    async def record(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(min(seconds, 1))

    monkeypatch.setattr("include.dbt_cloud.trigger.asyncio.sleep", record)

    async def fire(trigger: DbtCloudRunJobTrigger) -> dict[str, Any]:
        return (await anext(trigger.run())).payload

    event = asyncio.run(fire(trigger_for(cloud.create_run("success"))))
    assert event["status"] == "success"
    assert 900 < pauses[-1] <= 1000 + SCHEDULER_MARGIN


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_set_does_not_end_the_wait(
    cloud: LocalDbtCloud, hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = cloud.create_run("running")
    trigger = trigger_for(run_id, execution_deadline=time.time() + 600)
    now = time.time

    async def wait() -> str:
        waiting = asyncio.create_task(trigger.wait())
        await asyncio.sleep(0.3)
        monkeypatch.setattr("include.dbt_cloud.trigger.time.time", lambda: now() + hours * 3600)
        await asyncio.sleep(0.3)
        await asyncio.to_thread(cloud.set_run, run_id, "success")
        return (await asyncio.wait_for(waiting, 20)).payload["status"]

    assert asyncio.run(wait()) == "success"

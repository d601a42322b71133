"""One task instance, one dbt run: what a try does if an earlier one may have triggered a run already."""

import asyncio
import re
import threading
import time
from datetime import timedelta
from functools import partial
from typing import Any, cast

import pytest
from airflow.providers.dbt.cloud.hooks.dbt import DbtCloudJobRunException
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowTaskTimeout, TaskDeferred
from local_dbt_cloud.testing import LocalDbtCloud, Status

from include.dbt_cloud.checkpoint import CANCELED_RUN, SUBMISSION
from include.dbt_cloud.exceptions import (
    DbtCloudConnectionError,
    DbtCloudJobRunCancelled,
    DbtCloudJobRunFailed,
    DbtCloudJobRunRejected,
    DbtCloudJobRunTimedOut,
    DbtCloudJobRunUnreachable,
    DbtCloudResponseError,
)
from include.dbt_cloud.submitter import JobRunSubmitter
from include.dbt_cloud.trigger import DbtCloudRunJobTrigger
from tests.connection import connect
from tests.integration.connect_proxy import connect_proxy
from tests.integration.lifecycle import TaskLifecycle, call_around, runs
from tests.integration.run_results import result, step
from tests.task_instance import Killed, Store, TaskInstance, TaskStates
from tests.waiting import wait_until

FAILED_STEP = step([result("model.shop.orders", "error")]) | {"status": 20}


def asked(cloud: LocalDbtCloud) -> list[str]:
    """Return the methods and paths of the recorded requests, the paths below the account's."""
    return [f"{one['method']} {one['path'].partition('/accounts/1/')[2]}" for one in cloud.requests()]


def test_a_first_try_sends_one_post_and_searches_for_no_run(held: LocalDbtCloud) -> None:
    assert isinstance(TaskLifecycle().execute(), DbtCloudRunJobTrigger)
    assert asked(held) == ["POST jobs/101/run"]


def test_the_cause_of_a_run_ends_with_the_tag_of_its_task_instance(held: LocalDbtCloud) -> None:
    TaskLifecycle(trigger_reason="Nightly").execute()
    (run,) = held.get("runs/", include_related='["trigger"]')
    assert re.fullmatch(
        r"Nightly: a_dag, manual__2026-01-01T00:00:00\+00:00, trigger_job, try 1 "
        r"\[airflow [0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}\]",
        run["trigger"]["cause"],
    )


@pytest.mark.parametrize("killed_at", ["answer", "job_run_url", "job_run_id"])
def test_the_next_try_reattaches_to_the_run_of_a_killed_worker(held: LocalDbtCloud, killed_at: str) -> None:
    lifecycle = TaskLifecycle()
    with pytest.raises(Killed):
        lifecycle.execute(killed_at)
    held.clear_requests()
    trigger = lifecycle.retry().defer()
    # One request: the newest runs of the job with their triggers.
    assert asked(held) == ["GET runs"]
    held.end_active_runs()
    assert lifecycle.resume(trigger) == 1
    assert runs(held) == [(1, "Success")]


def test_a_worker_killed_before_it_triggered_a_run_leaves_none_to_reattach_to(
    held: LocalDbtCloud,
) -> None:
    lifecycle = TaskLifecycle()
    with pytest.raises(Killed):
        lifecycle.execute("start")
    assert runs(held) == []
    lifecycle.an_hour_later().retry().execute()
    assert runs(held) == [(1, "Queued")]


def test_a_run_that_succeeded_between_two_tries_is_the_tasks_result(held: LocalDbtCloud) -> None:
    lifecycle = TaskLifecycle()
    lifecycle.execute()
    held.end_active_runs()
    assert lifecycle.retry().execute() == 1
    assert runs(held) == [(1, "Success")]


def test_a_run_that_failed_is_followed_by_another(held: LocalDbtCloud) -> None:
    lifecycle = TaskLifecycle()
    with pytest.raises(DbtCloudJobRunFailed):
        lifecycle.run(lambda: held.end_active_runs("error"))
    assert lifecycle.retry().run(held.end_active_runs) == 2
    assert runs(held) == [(1, "Error"), (2, "Success")]


def test_a_run_that_exceeded_the_jobs_time_limit_is_followed_by_another(held: LocalDbtCloud) -> None:
    message = "This run timed out after running for 1 minute."
    lifecycle = TaskLifecycle()
    with pytest.raises(DbtCloudJobRunTimedOut, match=message):
        lifecycle.run(lambda: held.end_active_runs("cancelled", message))
    assert lifecycle.retry().run(held.end_active_runs) == 2


@pytest.mark.parametrize("trouble", [{"drop": "before"}, {"drop": "after"}], ids=str)
def test_an_unanswered_trigger_request_is_not_mistaken_for_the_previous_run(
    held: LocalDbtCloud, trouble: dict[str, Any]
) -> None:
    message = "This run timed out after running for 1 minute."
    lifecycle = TaskLifecycle()
    with pytest.raises(DbtCloudJobRunTimedOut):
        lifecycle.run(lambda: held.end_active_runs("cancelled", message))
    held.add_fault("/run$", method="POST", **trouble)
    held.add_fault("/runs$", method="GET", hide_new_runs=0.2, times=None)
    assert lifecycle.retry().run(held.end_active_runs) == 2
    held.clear_faults()
    assert runs(held) == [(1, "Cancelled"), (2, "Success")]


def test_a_run_that_a_user_canceled_between_two_tries_is_not_triggered_again(held: LocalDbtCloud) -> None:
    lifecycle = TaskLifecycle()
    lifecycle.execute()
    held.cancel(1)
    with pytest.raises(DbtCloudJobRunCancelled, match=r"run 1 .* Cancelled by user.* earlier try"):
        lifecycle.retry().execute()
    assert runs(held) == [(1, "Cancelled")]


def test_a_run_that_the_task_itself_canceled_is_followed_by_another(held: LocalDbtCloud) -> None:
    lifecycle = TaskLifecycle(execution_timeout=timedelta(seconds=0.5))
    with pytest.raises(DbtCloudJobRunTimedOut, match="execution_timeout"):
        lifecycle.run()
    assert runs(held) == [(1, "Cancelled")]
    assert lifecycle.retry().run(held.end_active_runs) == 2


def test_the_try_after_lost_contact_reattaches_to_the_run(held: LocalDbtCloud) -> None:
    lifecycle = TaskLifecycle(outage_tolerance=0.3)
    held.add_fault("/runs", method="GET", status=503, times=None)
    with pytest.raises(DbtCloudJobRunUnreachable):
        lifecycle.run()
    held.clear_faults()
    assert lifecycle.retry().run(held.end_active_runs) == 1


TROUBLES = [
    {"drop": "after"},
    {"status": 503, "acts": True},
    {"status": 408, "acts": True},
    {"html": True, "acts": True},
    {"drop": "before"},
    {"status": 503},
    {"status": 429, "retry_after": 1},
    {"html": True},
]


@pytest.mark.parametrize("trouble", TROUBLES, ids=str)
def test_an_unanswered_trigger_request_starts_one_run(held: LocalDbtCloud, trouble: dict[str, Any]) -> None:
    held.add_fault("/run$", method="POST", **trouble)
    assert TaskLifecycle().run(held.end_active_runs) == 1
    assert runs(held) == [(1, "Success")]


def test_a_run_that_is_hidden_at_first_is_not_triggered_again(held: LocalDbtCloud) -> None:
    held.add_fault("/run$", method="POST", drop="after")
    held.add_fault("/runs", method="GET", hide_new_runs=0.2, times=None)
    assert TaskLifecycle().run(held.end_active_runs) == 1


def test_a_later_try_waits_for_a_run_that_is_hidden_at_first(held: LocalDbtCloud) -> None:
    lifecycle = TaskLifecycle()
    with pytest.raises(Killed):
        lifecycle.execute("answer")
    held.add_fault("/runs", method="GET", hide_new_runs=0.2, times=None)
    lifecycle.retry().execute()
    assert len(runs(held)) == 1


def test_a_lasting_outage_is_an_error_and_starts_no_run(held: LocalDbtCloud) -> None:
    held.add_fault("/run$", method="POST", status=503, times=None)
    with pytest.raises(DbtCloudResponseError, match="503"):
        TaskLifecycle().execute()
    assert runs(held) == []


def test_a_rejected_trigger_request_is_not_repeated(held: LocalDbtCloud) -> None:
    with pytest.raises(DbtCloudResponseError, match="has no job 999 in account 1"):
        TaskLifecycle(job_id=999).execute()
    assert asked(held) == ["POST jobs/999/run"]


def test_a_cleared_task_starts_a_new_run(held: LocalDbtCloud) -> None:
    lifecycle = TaskLifecycle()
    assert lifecycle.run(held.end_active_runs) == 1
    assert lifecycle.clear().run(held.end_active_runs) == 2
    # Later tries reattach to the new run.
    assert lifecycle.retry().run() == 2


def test_a_cleared_task_cancels_the_run_that_its_killed_worker_left_active(held: LocalDbtCloud) -> None:
    lifecycle = TaskLifecycle()
    with pytest.raises(Killed):
        lifecycle.execute("answer")
    assert lifecycle.clear().run(held.end_active_runs) == 2
    assert runs(held) == [(1, "Cancelled"), (2, "Success")]


@pytest.fixture
def cancels_fail(held: LocalDbtCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("include.dbt_cloud.hook.CANCEL_TIMEOUT", 0.1)
    held.add_fault("/cancel$", method="POST", status=503, times=None)


@pytest.mark.usefixtures("cancels_fail")
def test_a_cleared_task_starts_no_run_while_its_earlier_one_cannot_be_canceled(held: LocalDbtCloud) -> None:
    lifecycle = TaskLifecycle()
    with pytest.raises(Killed):
        lifecycle.execute("answer")
    with pytest.raises(
        DbtCloudJobRunException, match=r"dbt Cloud run 1, .* could not be canceled and may still be active"
    ):
        lifecycle.clear().execute()
    assert runs(held) == [(1, "Queued")]
    held.clear_faults()
    assert lifecycle.retry().run(held.end_active_runs) == 2
    assert runs(held) == [(1, "Cancelled"), (2, "Success")]


@pytest.mark.usefixtures("cancels_fail")
def test_the_loser_of_a_race_waits_for_its_own_run_if_it_cannot_cancel_it(
    held: LocalDbtCloud, monkeypatch: pytest.MonkeyPatch, task_states: TaskStates
) -> None:
    lifecycle = TaskLifecycle(reuse_existing_run=True)
    submit = JobRunSubmitter.submit
    monkeypatch.setattr(JobRunSubmitter, "submit", lambda self: [held.trigger(101), submit(self)][1])
    trigger = lifecycle.defer()
    assert (trigger.run_id, trigger.owned) == (2, True)
    held.clear_faults()
    task_states.current = "failed"
    asyncio.run(trigger.on_kill())
    assert runs(held) == [(1, "Queued"), (2, "Cancelled")]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"host": "no-such-host.invalid"}, "does not exist"),
        ({"host": "localhost:1"}, "did not answer"),
        ({"token": ""}, "has no API token"),
        ({"token": "wrong"}, "rejected the API token"),
    ],
    ids=str,
)
@pytest.mark.parametrize("account_id", [1, None])
def test_no_try_searches_for_a_run_that_cannot_have_been_started(
    held: LocalDbtCloud,
    account_id: int | None,
    wrong: dict[str, str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host = held.host
    lifecycle = TaskLifecycle(account_id=account_id, hook_params={"retry_limit": 0})
    monkeypatch.setattr(JobRunSubmitter, "find", lambda *_: pytest.fail("it looked"))
    for _ in range(2):
        connect(monkeypatch, **{"host": host} | wrong)
        with pytest.raises(AirflowException, match=sentence):
            lifecycle.execute()
        lifecycle.retry()
    connect(monkeypatch, host)
    assert lifecycle.run(held.end_active_runs) == 1


def test_an_invalid_proxy_fails_at_once(held: LocalDbtCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, held.host, extra={"proxies": {"https": "http://"}})
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    with pytest.raises(DbtCloudConnectionError, match="InvalidProxyURL"):
        TaskLifecycle(outage_tolerance=1).execute()
    assert waits == []


def test_a_run_that_may_have_been_started_is_found_although_the_next_request_was_rejected(
    held: LocalDbtCloud,
) -> None:
    held.add_fault("/runs$", method="GET", hide_new_runs=1, times=None)
    held.add_fault("/run$", method="POST", drop="after")
    held.add_fault("/run$", method="POST", status=403)
    lifecycle = TaskLifecycle()
    with pytest.raises(DbtCloudResponseError, match="403"):
        lifecycle.execute()
    assert lifecycle.retry().run(held.end_active_runs) == 1


def test_a_kill_during_the_trigger_request_cancels_the_run(
    held: LocalDbtCloud, task_states: TaskStates
) -> None:
    lifecycle = TaskLifecycle(deferrable=False)
    operator = lifecycle.operator()
    task_states.current = "failed"
    # The signal comes when dbt Cloud has acted and its answer is on the way.
    call_around(operator.hook, "trigger_run", after=operator.on_kill)
    with pytest.raises(DbtCloudJobRunException, match=r"run 1 ended: Cancelled.* The task canceled it"):
        operator.execute(lifecycle.context)
    assert runs(held) == [(1, "Cancelled")]


def test_a_kill_before_the_trigger_request_cancels_the_run_once_it_is_known(
    held: LocalDbtCloud, task_states: TaskStates
) -> None:
    lifecycle = TaskLifecycle(deferrable=False)
    operator = lifecycle.operator()
    task_states.current = "failed"
    call_around(operator.hook, "trigger_run", before=operator.on_kill)
    with pytest.raises(DbtCloudJobRunException, match="The task canceled it"):
        operator.execute(lifecycle.context)
    assert runs(held) == [(1, "Cancelled")]


@pytest.mark.parametrize("answered", [True, False])
def test_a_timeout_during_the_trigger_request_cancels_the_run(
    held: LocalDbtCloud, monkeypatch: pytest.MonkeyPatch, answered: bool
) -> None:
    lifecycle = TaskLifecycle()
    operator = lifecycle.operator()
    trigger_run = operator.hook.trigger_run

    def time_out(*args: Any, **more: Any) -> Any:
        if answered:
            trigger_run(*args, **more)
        raise AirflowTaskTimeout

    monkeypatch.setattr(operator.hook, "trigger_run", time_out)
    with pytest.raises(AirflowTaskTimeout):
        operator.execute(lifecycle.context)
    assert runs(held) == [(1, "Cancelled")][: int(answered)]
    # The next try knows that no user canceled it.
    assert lifecycle.retry().run(held.end_active_runs) == 1 + answered


@pytest.mark.parametrize(
    "trouble", [{"status": 503}, {"status": 429}, {"drop": "before"}, {"html": True}], ids=str
)
def test_the_search_after_a_lost_answer_tolerates_an_outage(
    held: LocalDbtCloud, trouble: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Do not wait for a run that dbt Cloud may not list yet.
    monkeypatch.setattr("include.dbt_cloud.submitter.CONSISTENCY_WINDOW", 0)
    held.add_fault("/run$", method="POST", drop="after")
    held.add_fault("/runs$", method="GET", times=8, **trouble)
    lifecycle = TaskLifecycle(hook_params={"retry_delay": 0.01, "retry_limit": 1, "timeout_seconds": 3})
    assert lifecycle.run(held.end_active_runs) == 1
    assert len(runs(held)) == 1


@pytest.mark.parametrize("name", ["retry_limit", "retry_delay", "retry_args", "max_requests_per_minute"])
def test_none_in_hook_params_is_the_default(held: LocalDbtCloud, name: str) -> None:
    lifecycle = TaskLifecycle(outage_tolerance=5)
    lifecycle.arguments["hook_params"][name] = None
    assert lifecycle.run(held.end_active_runs) == 1


def test_a_timeout_of_none_in_hook_params_is_the_default(held: LocalDbtCloud) -> None:
    lifecycle = TaskLifecycle(hook_params={"timeout_seconds": None})
    with pytest.raises(Killed):
        lifecycle.execute("answer")
    assert lifecycle.retry().defer().run_id == 1


def test_a_cause_in_the_run_config_is_the_reason(held: LocalDbtCloud) -> None:
    TaskLifecycle(additional_run_config={"cause": "Backfill"}, trigger_reason="Nightly").execute()
    (run,) = held.get("runs/", include_related='["trigger"]')
    assert run["trigger"]["cause"].startswith("Backfill: a_dag, ")


def test_a_run_of_somebody_else_is_not_reattached_to(held: LocalDbtCloud) -> None:
    held.trigger(101)
    other = TaskLifecycle(ti=TaskInstance(run_id="another"))
    other.execute()
    lifecycle = TaskLifecycle()
    with pytest.raises(Killed):
        lifecycle.execute("start")
    lifecycle.an_hour_later().retry().execute()
    assert len(runs(held)) == 3


def test_another_deployment_with_the_same_names_keeps_its_runs(
    held: LocalDbtCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    TaskLifecycle().execute()
    monkeypatch.setenv("AIRFLOW_VAR_DBT_CLOUD_DEPLOYMENT_ID", "another")
    TaskLifecycle().clear(keep_store=False).execute()
    assert runs(held) == [(1, "Queued"), (2, "Queued")]


def test_a_recreated_dag_run_does_not_adopt_a_success_of_its_namesake(held: LocalDbtCloud) -> None:
    TaskLifecycle().run(held.end_active_runs)
    recreated = TaskLifecycle()
    with pytest.raises(Killed):
        recreated.execute("start")
    assert recreated.an_hour_later().retry().run(held.end_active_runs) == 2


def test_a_clear_after_retries_were_lowered_starts_a_new_run(held: LocalDbtCloud) -> None:
    lifecycle = TaskLifecycle(retries=2)
    assert lifecycle.run(held.end_active_runs) == 1
    lifecycle.clear(retries=1)
    assert lifecycle.ti.max_tries == 2
    assert lifecycle.run(held.end_active_runs) == 2


@pytest.mark.parametrize("ended", [True, False])
def test_a_clear_after_retries_were_lowered_forgets_an_unreported_run(
    held: LocalDbtCloud, ended: bool
) -> None:
    lifecycle = TaskLifecycle(retries=2)
    with pytest.raises(Killed):
        lifecycle.execute("answer")
    if ended:
        held.end_active_runs()
    lifecycle.clear(retries=1)
    assert lifecycle.ti.max_tries == 2
    assert lifecycle.run(held.end_active_runs) == 2
    assert runs(held) == [(1, "Success" if ended else "Cancelled"), (2, "Success")]


def test_a_clear_of_another_task_keeps_the_run(held: LocalDbtCloud) -> None:
    lifecycle = TaskLifecycle()
    with pytest.raises(Killed):
        lifecycle.execute("answer")
    lifecycle.clear_number += 1
    assert lifecycle.retry().run(held.end_active_runs) == 1


def test_a_clear_while_the_task_resumes_starts_a_new_run(held: LocalDbtCloud) -> None:
    lifecycle = TaskLifecycle()
    trigger = lifecycle.defer()
    assert isinstance(trigger, DbtCloudRunJobTrigger)
    held.end_active_runs()
    event = asyncio.run(trigger.wait()).payload
    lifecycle.clear()
    with pytest.raises(TaskDeferred):
        lifecycle.operator().execute_complete(lifecycle.context, event, **lifecycle.kwargs)
    assert runs(held) == [(1, "Success"), (2, "Queued")]


@pytest.mark.parametrize("status", ["unreachable", "wait_timeout"])
@pytest.mark.parametrize("state", ["failed", "restarting"])
def test_a_kill_of_a_resumed_task_cancels_a_run_that_is_still_active(
    held: LocalDbtCloud, task_states: TaskStates, status: str, state: str
) -> None:
    lifecycle = TaskLifecycle()
    event = lifecycle.defer().event(status).payload
    # Another process resumes the task.
    operator = lifecycle.operator()
    task_states.current = state
    call_around(operator.hook, "get_run", before=operator.on_kill)
    with pytest.raises(DbtCloudJobRunException, match="The task canceled it"):
        operator.execute_complete(lifecycle.context, event, **lifecycle.kwargs)
    assert runs(held) == [(1, "Cancelled")]
    task_states.current = "running"
    lifecycle.clear_while_running().defer()
    assert runs(held) == [(1, "Cancelled"), (2, "Queued")]


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_clear_while_the_results_are_read_starts_a_new_run(
    held: LocalDbtCloud, task_states: TaskStates, monkeypatch: pytest.MonkeyPatch, deferrable: bool
) -> None:
    lifecycle = TaskLifecycle(deferrable=deferrable)
    operator = lifecycle.operator()
    call_around(operator.hook, "trigger_run", after=held.end_active_runs)
    resume = partial(operator.execute, lifecycle.context)
    if deferrable:
        with pytest.raises(TaskDeferred) as deferred:
            operator.execute(lifecycle.context)
        event = asyncio.run(cast("Any", deferred.value.trigger).wait()).payload
        operator = lifecycle.operator()
        resume = partial(operator.execute_complete, lifecycle.context, event, **(deferred.value.kwargs or {}))

    def clear(*_: Any) -> None:
        task_states.current = "restarting"
        operator.on_kill()
        raise Killed("by a clear")

    with monkeypatch.context() as patch:
        patch.setattr("include.dbt_cloud.operator.read_run_results", clear)
        with pytest.raises(Killed):
            resume()
    task_states.current = "running"
    lifecycle.arguments["deferrable"] = True
    assert lifecycle.clear_while_running().run(held.end_active_runs) == 2
    assert runs(held) == [(1, "Success"), (2, "Success")]


@pytest.mark.parametrize("event", [{"run_id": 7, "status": "cancelled", "try_number": 2}, "x", None], ids=str)
def test_the_event_of_another_trigger_is_ignored(held: LocalDbtCloud, event: Any) -> None:
    lifecycle = TaskLifecycle(execution_timeout=timedelta(hours=1))
    trigger = lifecycle.defer()
    with pytest.raises(TaskDeferred) as deferred:
        lifecycle.operator().execute_complete(lifecycle.context, event, **lifecycle.kwargs)
    assert deferred.value.trigger.serialize() == trigger.serialize()
    assert deferred.value.kwargs == lifecycle.kwargs
    held.end_active_runs()
    assert lifecycle.resume(trigger) == 1
    assert runs(held) == [(1, "Success")]


def test_a_clear_starts_a_new_run_although_the_task_did_not_wait(held: LocalDbtCloud) -> None:
    lifecycle = TaskLifecycle(retries=2, wait_for_termination=False)
    assert lifecycle.execute() == 1
    held.end_active_runs()
    assert lifecycle.clear(retries=1).execute() == 2


def test_a_run_of_the_job_that_the_task_had_before_is_found(held: LocalDbtCloud) -> None:
    lifecycle = TaskLifecycle()
    with pytest.raises(Killed):
        lifecycle.execute("answer")
    lifecycle.arguments["job_id"] = 102
    assert lifecycle.retry().run(held.end_active_runs) == 1
    assert runs(held, 102) == []


@pytest.mark.parametrize("keep_store", [True, False])
def test_a_clear_cancels_the_run_of_the_job_that_the_task_had_before(
    held: LocalDbtCloud, keep_store: bool
) -> None:
    lifecycle = TaskLifecycle()
    with pytest.raises(Killed):
        lifecycle.execute("answer")
    lifecycle.arguments["job_id"] = 102
    lifecycle.clear(keep_store=keep_store).execute()
    assert (runs(held), runs(held, 102)) == ([(1, "Cancelled")], [(2, "Queued")])


@pytest.mark.parametrize(
    "changed", [{"steps_override": ["dbt run"]}, {"job_id": 102}, {"schema_override": "other"}], ids=str
)
@pytest.mark.parametrize("cleared", [True, False])
def test_a_corrected_task_does_not_repeat_the_steps_of_its_failed_run(
    held: LocalDbtCloud, changed: dict[str, Any], cleared: bool
) -> None:
    lifecycle = TaskLifecycle(retry_from_failure=True, steps_override=["dbt run --select wrong"])
    with pytest.raises(DbtCloudJobRunFailed):
        lifecycle.run(lambda: held.end_active_runs("error", steps=[FAILED_STEP]))
    lifecycle.arguments |= changed
    held.clear_requests()
    (lifecycle.clear() if cleared else lifecycle.retry()).execute()
    assert [one for one in asked(held) if one.startswith("POST")] == [
        f"POST jobs/{lifecycle.arguments['job_id']}/run"
    ]


def test_a_clear_of_another_task_does_not_end_the_run_of_a_retry(held: LocalDbtCloud) -> None:
    lifecycle = TaskLifecycle()
    with pytest.raises(Killed):
        lifecycle.execute("answer")
    lifecycle.clear_number += 1
    assert lifecycle.retry().run(held.end_active_runs) == 1


@pytest.mark.parametrize("retried", [False, True])
def test_a_clear_that_empties_the_store_cancels_the_run_left_behind(
    held: LocalDbtCloud, retried: bool
) -> None:
    lifecycle = TaskLifecycle(retry_from_failure=retried)
    if retried:
        with pytest.raises(DbtCloudJobRunFailed):
            lifecycle.run(lambda: held.end_active_runs("error", steps=[FAILED_STEP]))
        lifecycle.retry()
    with pytest.raises(Killed):
        lifecycle.execute("answer")
    lifecycle.clear(keep_store=False).execute()
    assert [status for _, status in runs(held)][-2:] == ["Cancelled", "Queued"]


def test_a_failing_xcom_push_does_not_fail_the_task(
    held: LocalDbtCloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("the API server is gone")

    lifecycle = TaskLifecycle()
    monkeypatch.setattr(TaskInstance, "xcom_push", fail)
    assert lifecycle.run(held.end_active_runs) == 1
    assert "Could not push the XCom job_run_id: the API server is gone" in capsys.readouterr().out


def test_a_token_rotated_between_two_tries_does_not_fail_the_retry(
    held: LocalDbtCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    lifecycle = TaskLifecycle()
    with pytest.raises(Killed):
        lifecycle.execute("answer")
    connect(monkeypatch, held.host, token="old")
    threading.Timer(0.5, lambda: connect(monkeypatch, held.host)).start()
    assert lifecycle.retry().run(held.end_active_runs) == 1


def test_a_run_behind_hundreds_of_newer_ones_is_found(held: LocalDbtCloud) -> None:
    lifecycle = TaskLifecycle()
    with pytest.raises(Killed):
        lifecycle.execute("answer")
    for _ in range(250):
        held.create_run()
    held.clear_requests()
    assert lifecycle.retry().defer().run_id == 1
    assert asked(held) == ["GET runs"] * 3


def test_a_failing_store_starts_no_run(held: LocalDbtCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    lifecycle = TaskLifecycle()
    with monkeypatch.context() as patch:
        patch.setattr(Store, "set", lambda *_: (_ for _ in ()).throw(OSError("the API server is gone")))
        with pytest.raises(OSError, match="gone"):
            lifecycle.execute()
    assert runs(held) == []


def test_without_durable_each_try_starts_a_run(held: LocalDbtCloud) -> None:
    lifecycle = TaskLifecycle(durable=False)
    lifecycle.execute()
    lifecycle.retry().execute()
    assert runs(held) == [(1, "Queued"), (2, "Queued")]
    assert SUBMISSION not in lifecycle.store.values


def test_a_command_that_dbt_rejects_is_not_retried(cloud: LocalDbtCloud) -> None:
    lifecycle = TaskLifecycle(steps_override=["dbt build --no-such-option"])
    with pytest.raises(DbtCloudJobRunRejected) as error:
        lifecycle.run()
    assert isinstance(error.value, AirflowFailException)
    assert str(error.value).startswith("No such option '--no-such-option'.")


def test_a_run_in_an_unknown_status_is_reattached_not_doubled(held: LocalDbtCloud) -> None:
    lifecycle = TaskLifecycle()
    with pytest.raises(Killed):
        lifecycle.execute("answer")
    held.add_fault("/runs$", method="GET", run_status=42, times=None)
    assert lifecycle.retry().defer().run_id == 1
    assert len(runs(held)) == 1


def test_a_run_in_an_unknown_status_is_canceled_by_a_clear(held: LocalDbtCloud) -> None:
    lifecycle = TaskLifecycle()
    with pytest.raises(Killed):
        lifecycle.execute("answer")
    held.add_fault("/runs$", method="GET", run_status=42, times=None)
    lifecycle.clear().execute()
    assert runs(held) == [(1, "Cancelled"), (2, "Queued")]


def test_a_lost_answer_behind_a_proxy_is_one_run(
    held: LocalDbtCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect_proxy() as proxy:
        for name, value in {"https_proxy": proxy, "no_proxy": ""}.items():
            monkeypatch.setenv(name, value)
            monkeypatch.setenv(name.upper(), value)
        held.add_fault("/run$", method="POST", drop="after")
        held.add_fault("/runs$", method="GET", drop="before")
        assert TaskLifecycle().defer().run_id == 1
    assert runs(held) == [(1, "Queued")]


def test_a_cancel_that_a_login_page_answers_is_not_confirmed(
    held: LocalDbtCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("include.dbt_cloud.hook.CANCEL_TIMEOUT", 0.1)
    lifecycle = TaskLifecycle()
    lifecycle.execute()
    held.add_fault("/cancel$", method="POST", html=True, times=None)
    with pytest.raises(DbtCloudJobRunException, match="could not be canceled"):
        lifecycle.clear().execute()
    assert runs(held) == [(1, "Queued")]


class SlowStore(Store):
    """A task state store that loses the write of a canceled run."""

    def set(self, key: str, value: Any) -> None:
        if key != CANCELED_RUN:
            super().set(key, value)


def test_a_killed_task_is_retried_although_the_store_lost_its_cancel(
    held: LocalDbtCloud, task_states: TaskStates
) -> None:
    task_states.current = "restarting"
    lifecycle = TaskLifecycle(deferrable=False)
    lifecycle.store = SlowStore()
    operator = lifecycle.operator()
    threading.Timer(0.5, operator.on_kill).start()
    with pytest.raises(DbtCloudJobRunException) as error:
        operator.execute(lifecycle.context)
    assert not isinstance(error.value, AirflowFailException)
    assert runs(held) == [(1, "Cancelled")]


def test_each_mapped_task_instance_has_its_own_run(held: LocalDbtCloud) -> None:
    lifecycles = [TaskLifecycle(ti=TaskInstance(map_index=index)) for index in range(2)]
    for lifecycle in lifecycles:
        lifecycle.execute()
    assert [lifecycle.retry().defer().run_id for lifecycle in lifecycles] == [1, 2]


class TestRetryInDbtCloud:
    """A person retries the task's failed run in dbt Cloud."""

    def failed(self, held: LocalDbtCloud, **arguments: Any) -> TaskLifecycle:
        lifecycle = TaskLifecycle(**arguments)
        failed_step = step([result("model.shop.orders", "error")]) | {"status": 20}
        with pytest.raises(DbtCloudJobRunFailed):
            lifecycle.run(lambda: held.end_active_runs("error", steps=[failed_step]))
        held.post("runs/1/retry/")
        return lifecycle

    def test_the_next_try_joins_its_run(self, held: LocalDbtCloud, task_states: TaskStates) -> None:
        lifecycle = self.failed(held)
        trigger = lifecycle.retry().defer()
        task_states.current = "failed"
        asyncio.run(trigger.on_kill())
        assert runs(held) == [(1, "Error"), (2, "Queued")]
        assert lifecycle.run(held.end_active_runs) == 2

    def test_the_next_try_starts_a_run_after_it_was_canceled(self, held: LocalDbtCloud) -> None:
        lifecycle = self.failed(held)
        trigger = lifecycle.retry().defer()
        held.end_active_runs("cancelled")
        with pytest.raises(DbtCloudJobRunException, match="a retry starts another run"):
            lifecycle.resume(trigger)
        assert lifecycle.retry().run(held.end_active_runs) == 3

    @pytest.mark.parametrize("keep_store", [True, False])
    @pytest.mark.parametrize("reuse_existing_run", [True, False])
    def test_a_clear_does_not_cancel_it(
        self, held: LocalDbtCloud, reuse_existing_run: bool, keep_store: bool
    ) -> None:
        lifecycle = self.failed(held, reuse_existing_run=reuse_existing_run)
        run_id = lifecycle.clear(keep_store=keep_store).defer().run_id
        assert run_id == (2 if reuse_existing_run else 3)
        assert runs(held)[:2] == [(1, "Error"), (2, "Queued")]


class TestRetryFromFailure:
    def fail(self, held: LocalDbtCloud) -> None:
        """End the active runs as dbt Cloud lets them be retried: with the results of the step that failed."""
        failed_step = step([result("model.shop.orders", "error")]) | {"status": 20}
        held.end_active_runs("error", steps=[failed_step])

    def failed(self, held: LocalDbtCloud, **arguments: Any) -> TaskLifecycle:
        lifecycle = TaskLifecycle(retry_from_failure=True, **arguments)
        with pytest.raises(DbtCloudJobRunFailed):
            lifecycle.run(lambda: self.fail(held))
        return lifecycle.retry()

    def test_a_retry_resumes_the_run_from_its_failure(self, held: LocalDbtCloud) -> None:
        lifecycle = self.failed(held)
        held.clear_requests()
        assert lifecycle.run(held.end_active_runs) == 2
        assert "POST runs/1/retry" in asked(held)
        assert held.get("runs/2/")["retrying_run_id"] == 1

    @pytest.mark.parametrize("trouble", TROUBLES[:4], ids=str)
    def test_a_retry_without_an_answer_is_found(self, held: LocalDbtCloud, trouble: dict[str, Any]) -> None:
        lifecycle = self.failed(held)
        held.add_fault("/retry$", method="POST", **trouble)
        assert lifecycle.run(held.end_active_runs) == 2

    def test_a_retried_run_is_reattached_to_like_any_other(self, held: LocalDbtCloud) -> None:
        lifecycle = self.failed(held)
        with pytest.raises(Killed):
            lifecycle.execute("answer")
        assert lifecycle.retry().run(held.end_active_runs) == 2
        assert len(runs(held)) == 2

    def test_a_cleared_task_resumes_from_the_failure_too(self, held: LocalDbtCloud) -> None:
        lifecycle = TaskLifecycle(retry_from_failure=True)
        with pytest.raises(DbtCloudJobRunFailed):
            lifecycle.run(lambda: self.fail(held))
        assert lifecycle.clear().run(held.end_active_runs) == 2
        assert held.get("runs/2/")["retrying_run_id"] == 1

    def test_no_full_run_is_triggered_if_the_retry_is_rate_limited(
        self, held: LocalDbtCloud, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lifecycle = TaskLifecycle(retry_from_failure=True)
        with pytest.raises(DbtCloudJobRunFailed):
            lifecycle.run(lambda: self.fail(held))
        monkeypatch.setattr(time, "sleep", lambda seconds: None)
        held.add_fault("/retry$", method="POST", status=429, times=None)
        with pytest.raises(DbtCloudResponseError, match="429"):
            lifecycle.retry().execute()
        assert len(runs(held)) == 1

    @pytest.mark.parametrize("status", [400, 404])
    def test_a_full_run_is_triggered_if_the_retry_is_rejected(self, held: LocalDbtCloud, status: int) -> None:
        lifecycle = self.failed(held)
        held.add_fault("/retry$", method="POST", status=status)
        assert lifecycle.run(held.end_active_runs) == 2
        assert held.get("runs/2/")["retrying_run_id"] is None


class TestReuseExistingRun:
    def test_an_active_run_of_somebody_else_is_joined(self, held: LocalDbtCloud) -> None:
        held.trigger(101)
        assert TaskLifecycle(reuse_existing_run=True).run(held.end_active_runs) == 1
        assert len(runs(held)) == 1

    def test_a_joined_run_is_not_canceled_with_the_task(
        self, held: LocalDbtCloud, task_states: TaskStates
    ) -> None:
        task_states.current = "failed"
        held.trigger(101)
        lifecycle = TaskLifecycle(reuse_existing_run=True)
        asyncio.run(lifecycle.defer().on_kill())
        assert runs(held) == [(1, "Queued")]

    def test_a_task_whose_joined_run_was_canceled_is_retried(self, held: LocalDbtCloud) -> None:
        held.trigger(101)
        lifecycle = TaskLifecycle(reuse_existing_run=True)
        with pytest.raises(DbtCloudJobRunException) as error:
            lifecycle.run(lambda: held.cancel(1))
        assert not isinstance(error.value, AirflowFailException)
        assert lifecycle.retry().run(held.end_active_runs) == 2

    def test_a_cleared_task_does_not_join_its_own_earlier_run(self, held: LocalDbtCloud) -> None:
        lifecycle = TaskLifecycle(reuse_existing_run=True)
        lifecycle.execute()
        assert lifecycle.clear().run(held.end_active_runs) == 2
        assert runs(held) == [(1, "Cancelled"), (2, "Success")]

    def test_failing_to_list_other_runs_does_not_fail_the_task(
        self, held: LocalDbtCloud, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lifecycle = TaskLifecycle(reuse_existing_run=True, hook_params={"retry_limit": 0})
        submit = JobRunSubmitter.submit

        def submit_then_fail(self: JobRunSubmitter) -> Any:
            run = submit(self)
            held.add_fault("/runs$", method="GET", status=503)
            return run

        monkeypatch.setattr(JobRunSubmitter, "submit", submit_then_fail)
        assert lifecycle.defer().run_id == 1

    def test_the_loser_of_a_race_joins_the_winner(
        self, held: LocalDbtCloud, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lifecycle = TaskLifecycle(reuse_existing_run=True)
        # Between its check and its submission, somebody else starts the job.
        submit = JobRunSubmitter.submit
        monkeypatch.setattr(JobRunSubmitter, "submit", lambda self: [held.trigger(101), submit(self)][1])
        trigger = lifecycle.defer()
        assert trigger.run_id == 1
        assert not trigger.owned
        assert runs(held) == [(1, "Queued"), (2, "Cancelled")]

    def test_all_tasks_in_a_race_join_the_same_run(self, held: LocalDbtCloud) -> None:
        lifecycles = [
            TaskLifecycle(ti=TaskInstance(run_id=f"run_{number}"), reuse_existing_run=True)
            for number in range(6)
        ]
        waiting: list[Any] = []
        threads = [
            threading.Thread(target=lambda lifecycle=lifecycle: waiting.append(lifecycle.execute()))
            for lifecycle in lifecycles
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [trigger.run_id for trigger in waiting] == [1] * 6
        assert [status for _, status in runs(held) if status != "Cancelled"] == ["Queued"]


class TestWithoutTheTriggerer:
    def live(self, lifecycle: TaskLifecycle) -> list[Any]:
        """Execute in a thread, because the task waits there; return the list that receives the outcome."""
        outcome: list[Any] = []

        def execute() -> None:
            try:
                outcome.append(lifecycle.execute())
            except Exception as error:
                outcome.append(error)

        threading.Thread(target=execute).start()
        return outcome

    @pytest.mark.parametrize(
        ("status", "expected"),
        [
            ("success", int),
            ("error", DbtCloudJobRunFailed),
            ("cancelled", DbtCloudJobRunCancelled),
        ],
    )
    def test_it_waits_and_reports_the_same_outcomes(
        self, held: LocalDbtCloud, status: Status, expected: type
    ) -> None:
        # An unknown status precedes the final one.
        held.add_fault("/runs", method="GET", run_status=42, times=5)
        outcome = self.live(TaskLifecycle(deferrable=False))
        wait_until(lambda: runs(held))
        held.end_active_runs(status)
        wait_until(lambda: outcome)
        assert isinstance(outcome[0], expected)

    def test_an_outage_longer_than_tolerated_is_reported(self, held: LocalDbtCloud) -> None:
        held.add_fault("/runs", method="GET", status=503, times=None)
        with pytest.raises(DbtCloudJobRunUnreachable):
            TaskLifecycle(deferrable=False, outage_tolerance=0.3).execute()

    def test_a_kill_cancels_the_run_and_the_next_try_starts_another(
        self, held: LocalDbtCloud, monkeypatch: pytest.MonkeyPatch, task_states: TaskStates
    ) -> None:
        task_states.current = "restarting"
        lifecycle = TaskLifecycle(deferrable=False)
        operator = lifecycle.operator()
        monkeypatch.setattr(lifecycle, "operator", lambda _=None: operator)
        outcome = self.live(lifecycle)
        wait_until(lambda: "job_run_id" in lifecycle.ti.xcoms)
        operator.on_kill()
        assert runs(held) == [(1, "Cancelled")]
        wait_until(lambda: outcome)
        assert isinstance(outcome[0], DbtCloudJobRunException)
        assert not isinstance(outcome[0], AirflowFailException)
        monkeypatch.delattr(lifecycle, "operator")
        lifecycle.arguments["deferrable"] = True
        assert lifecycle.clear_while_running().run(held.end_active_runs) == 2

    def test_a_worker_that_shuts_down_leaves_its_run_to_the_next_try(
        self, held: LocalDbtCloud, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lifecycle = TaskLifecycle(deferrable=False)
        operator = lifecycle.operator()
        monkeypatch.setattr(lifecycle, "operator", lambda _=None: operator)
        outcome = self.live(lifecycle)
        wait_until(lambda: "job_run_id" in lifecycle.ti.xcoms)
        operator.on_kill()
        monkeypatch.delattr(lifecycle, "operator")
        lifecycle.arguments["deferrable"] = True
        assert lifecycle.retry().run(held.end_active_runs) == 1
        wait_until(lambda: outcome)
        assert outcome == [1]

    def test_without_wait_for_termination_a_later_try_starts_no_second_run(self, held: LocalDbtCloud) -> None:
        lifecycle = TaskLifecycle(wait_for_termination=False, deferrable=False)
        assert [lifecycle.execute(), lifecycle.retry().execute()] == [1, 1]

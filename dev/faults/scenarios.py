"""The faults, how each is injected, and the result that this project's operator must have."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    # Not at runtime: Dag files import this module.
    from dev.faults.trial import Trial

# This project's operator and the stock provider's.
VARIANTS = ("ours", "stock")

# A connection that only slow_secrets.py has, and the Dags for which xcom.py cannot store anything.
SLOW_CONNECTION = "dbt_conn_slow"
XCOM_FAILS = "xcom_fails"
# Dags whose files a user has edited have a file of their name in this directory of Airflow's home.
EDITED_DAGS = "edited_dags"

Inject = Callable[["Trial"], None]


@dataclass(frozen=True)
class Scenario:
    """A fault and the expected result.

    :param inject: Starts the Dag and injects the fault.
    :param expected_log: Regular expressions, each found in what our task logs or pushes.
    :param expected_runs: Final statuses of the runs that leave the queue, oldest first.
    :param expected_state: Final state of the task.
    :param state_set_by_user: Whether a user sets the state, which then need not match the run.
    :param exclusive: Variants beside which no other trial may run, because the fault affects all tasks.
    :param task_count: Number of tasks that run the job at the same time.
    :param submitted: What happens in the first try as soon as dbt Cloud started the run: ``killed`` kills the
        worker, ``unanswered`` withholds the answer.
    :param arguments: Additional arguments of the operator.
    :param edited_arguments: Those that a user changes in the Dag file.
    """

    name: str
    title: str
    inject: Inject
    expected_log: tuple[str, ...] = ()
    expected_runs: tuple[str, ...] = ("Success",)
    expected_state: str = "success"
    state_set_by_user: bool = False
    exclusive: tuple[str, ...] = ()
    task_count: int = 1
    submitted: Literal["", "killed", "unanswered"] = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    edited_arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Short name for people."""
        return self.name.replace("_", " ")

    def dag_id(self, variant: str) -> str:
        """Return the ID of the Dag."""
        return f"{self.name}_{variant}"

    def job_id(self, variant: str) -> int:
        """Return the ID of the dbt Cloud job. Each trial has its own, so that runs and faults do not mix."""
        return 101 + 2 * SCENARIOS.index(self) + VARIANTS.index(variant)


def start(trial: "Trial") -> None:
    """Start the Dag: the fault is in its file or its arguments."""
    trial.start()


def fail_submission(**fault: Any) -> Inject:
    """Inject a fault into the request that starts a run."""

    def inject(trial: "Trial") -> None:
        trial.inject_fault(method="POST", path=trial.submit_path, **fault)
        trial.start()

    return inject


def fail_polls(**fault: Any) -> Inject:
    """Inject a fault into the requests for the status of the run; those of our operator are for all runs."""

    def inject(trial: "Trial") -> None:
        trial.start()
        trial.wait_until_waiting()
        fault_id = trial.inject_fault(method="GET", path=trial.poll_path, **fault)
        trial.wait_for_fault(fault_id, while_deferred=True)

    return inject


def hide_new_run(trial: "Trial") -> None:
    """Hide the new run from a dozen requests."""
    fault_id = trial.inject_fault(method="GET", path=r"/runs(/\d+)?$", hide_new_runs=3600, times=12)
    trial.start()
    trial.wait_for_fault(fault_id)


def replace_triggerer(trial: "Trial") -> None:
    """Kill the triggerer and start another one."""
    trial.start()
    trial.wait_until_waiting()
    trial.stack.kill_triggerer()
    trial.stack.start_triggerer()
    trial.wait_for_second_triggerer()


def stall_triggerer(trial: "Trial") -> None:
    """Freeze the triggerer until another one has taken over, then let it continue."""
    trial.start()
    trial.wait_until_waiting()
    with trial.stack.frozen_triggerer():
        trial.stack.start_triggerer()
        trial.wait_for_second_triggerer()
    trial.let_processes_react()


def stall_worker(trial: "Trial") -> None:
    """Freeze the worker until another one executes the next try, then let it continue."""
    trial.start()
    trial.wait_until_waiting()
    with trial.frozen_worker():
        trial.wait_for_second_try()
    trial.let_processes_react()


def restart_dbt_cloud(trial: "Trial") -> None:
    """Kill and start the local dbt Cloud, which then cancels the runs that were active."""
    trial.start()
    trial.wait_until_waiting()
    trial.stack.kill_dbt_cloud()
    trial.stack.start_dbt_cloud()
    trial.end_runs("success")


def mark_task(state: str) -> Inject:
    """Mark the waiting task."""

    def inject(trial: "Trial") -> None:
        trial.start()
        trial.wait_until_waiting()
        trial.mark_task(state)

    return inject


def mark_task_and_fail_cancel(**fault: Any) -> Inject:
    """Mark the waiting task failed, and inject a fault into the requests that cancel the run."""

    def inject(trial: "Trial") -> None:
        trial.start()
        trial.wait_until_waiting()
        trial.inject_fault(method="POST", path=f"/runs/{trial.runs()[-1].id}/cancel$", times=2, **fault)
        trial.mark_task("failed")

    return inject


def clear_waiting_task(trial: "Trial") -> None:
    """Clear the waiting task."""
    trial.start()
    trial.wait_until_waiting()
    trial.clear_tasks()
    trial.wait_for_runs(2)
    trial.wait_until_waiting(run_count=2)


def clear_failed_task(trial: "Trial") -> None:
    """Clear the task after it has failed for good."""
    trial.start()
    trial.wait_for_dag_run()
    trial.clear_tasks()
    trial.wait_for_runs(2)


def lower_retries_and_clear(trial: "Trial") -> None:
    """Lower the task's retries in the Dag file and clear the task, both after its success."""
    trial.start()
    trial.end_runs("success")
    trial.wait_for_dag_run()
    trial.edit_dag()
    trial.clear_tasks()
    trial.wait_for_second_try()


def recreate_dag_run(trial: "Trial") -> None:
    """Delete the Dag run after its success, trigger it again, and lose the submission."""
    trial.start()
    trial.end_runs("success")
    trial.wait_for_dag_run()
    # Airflow notices the end of the task's process a moment later, and would charge it to the new task.
    time.sleep(5)
    trial.delete_dag_run()
    trial.inject_fault(method="POST", path=trial.submit_path, drop="before")
    trial.start()


def reject_token_in_second_try(trial: "Trial") -> None:
    """Reject the token a few times when the second try looks for the run of the first one."""
    trial.inject_fault(method="GET", path="/runs$", status=401, times=3)
    trial.start()
    trial.wait_for_second_try()


def add_newer_runs(trial: "Trial") -> None:
    """Let others start more runs of the job than one page of a list holds, before the second try."""
    trial.start()
    trial.wait_for_runs(1)
    trial.add_runs_of_others(110)
    trial.wait_for_second_try()


def clear_successful_task(trial: "Trial") -> None:
    """Clear the task after its success."""
    trial.start()
    trial.end_runs("success")
    trial.wait_for_dag_run()
    trial.clear_tasks()
    trial.wait_for_runs(2)


def cancel_run(trial: "Trial") -> None:
    """Cancel the run in dbt Cloud."""
    trial.start()
    trial.wait_until_waiting()
    trial.cancel_newest_run()
    trial.end_runs("success")


def fail_first_run(trial: "Trial") -> None:
    """Let the first run fail and the second one succeed."""
    trial.end_runs("error")
    trial.start()
    trial.wait_for_run_end()
    trial.end_runs("success")


def fail_run(trial: "Trial") -> None:
    """Let the run fail."""
    trial.end_runs("error")
    trial.start()
    trial.wait_for_dag_run()


def race(trial: "Trial") -> None:
    """Delay the submissions until both tasks have seen that no run is active."""
    fault_id = trial.inject_fault(method="POST", path=trial.submit_path, delay=8, times=2)
    trial.start()
    trial.wait_for_fault(fault_id)
    trial.wait_until_waiting()


def exceed_timeout(trial: "Trial") -> None:
    """Let the run take longer than the task may."""
    trial.start()
    trial.wait_for_dag_run()


LOST_SUBMISSION_LOG = "{} .*Checking for 15 seconds whether a run started"
TIMEOUT_LOG = (
    "DbtCloudJobRunTimedOut: dbt Cloud run .* exceeded the task's execution_timeout",
    "Canceled dbt Cloud run",
)
FAILED_RUN_LOG = ("DbtCloudJobRunFailed: .*dbt Cloud run .* ended: Error", "This model was told to fail")
IN_WORKER = {"deferrable": False}
SLOW_SECRETS = {"dbt_cloud_conn_id": SLOW_CONNECTION}
SHORT_TIMEOUT = {"retries": 0, "execution_timeout": timedelta(seconds=15)}
SCENARIOS = (
    Scenario(
        "response_lost",
        "The run starts, but the response to the submission is lost",
        fail_submission(drop="after"),
        expected_log=(LOST_SUBMISSION_LOG.format("did not answer POST"),),
    ),
    Scenario(
        "submission_503",
        "The submission is rejected with 503",
        fail_submission(status=503),
        expected_log=(LOST_SUBMISSION_LOG.format("answered 503"),),
    ),
    Scenario(
        "submission_503_started",
        "The submission is answered with 503, but the run starts",
        fail_submission(status=503, acts=True),
        expected_log=(LOST_SUBMISSION_LOG.format("answered 503"),),
    ),
    Scenario(
        "submission_429",
        "The submission is rejected with 429 and a Retry-After header",
        fail_submission(status=429, retry_after=1),
    ),
    Scenario(
        "poll_dropped",
        "While waiting: dbt Cloud closes the connection without a response",
        fail_polls(drop="before", times=4),
        exclusive=("ours",),
    ),
    Scenario(
        "poll_html",
        "While waiting: a proxy answers with an HTML page",
        fail_polls(html=True, times=4),
        exclusive=("ours",),
    ),
    Scenario(
        "poll_slow",
        "While waiting: responses take longer than the request timeout",
        fail_polls(delay=7, times=2),
        exclusive=("ours",),
        arguments={"hook_params": {"timeout_seconds": 5}},
    ),
    Scenario(
        "poll_503",
        "While waiting: dbt Cloud answers 503 several times",
        fail_polls(status=503, times=4),
        exclusive=("ours",),
    ),
    Scenario(
        "hidden_run",
        "While waiting: dbt Cloud answers 404 for the new run at first",
        hide_new_run,
        exclusive=VARIANTS,
    ),
    Scenario(
        "poll_unknown_status",
        "While waiting: dbt Cloud reports an unknown status",
        fail_polls(run_status=42, times=4),
        exclusive=("ours",),
    ),
    Scenario(
        "worker_killed",
        "The worker is killed right after the run started",
        start,
        expected_log=("Reattaching to dbt Cloud run",),
        submitted="killed",
    ),
    Scenario(
        "worker_killed_and_cleared",
        "The only try's worker is killed right after the run started, and a user clears the failed task",
        clear_failed_task,
        expected_runs=("Cancelled", "Success"),
        submitted="killed",
        arguments={"retries": 0},
    ),
    Scenario(
        "triggerer_killed",
        "The triggerer is killed while the task is deferred, and another one takes over",
        replace_triggerer,
        exclusive=VARIANTS,
    ),
    Scenario(
        "triggerer_stalled",
        "The triggerer stalls while the task is deferred, and wakes after another one took over",
        stall_triggerer,
        exclusive=VARIANTS,
    ),
    Scenario(
        "worker_stalled",
        "The worker of a waiting task (not deferrable) stalls, and wakes after the next try took over",
        stall_worker,
        arguments=IN_WORKER,
    ),
    Scenario(
        "token_rotated",
        "The worker is killed right after the run started, and the next try's token is rejected at first",
        reject_token_in_second_try,
        exclusive=VARIANTS,
        submitted="killed",
    ),
    Scenario(
        "newer_runs",
        "The worker is killed right after the run started, and others start 110 runs before the next try",
        add_newer_runs,
        submitted="killed",
        arguments={"retry_delay": timedelta(seconds=10)},
    ),
    Scenario(
        XCOM_FAILS,
        "Airflow cannot store the XComs with the run's ID and URL, and there are no retries",
        start,
        arguments={"retries": 0},
    ),
    Scenario(
        "dbt_cloud_restarted",
        "dbt Cloud goes down, comes back, and has canceled the active run",
        restart_dbt_cloud,
        expected_log=(
            "DbtCloudJobRunCancelled: dbt Cloud run .* ended: Cancelled. The local dbt Cloud was stopped",
        ),
        expected_runs=("Cancelled",),
        expected_state="failed",
        exclusive=VARIANTS,
    ),
    Scenario(
        "marked_failed",
        "A user marks the deferred task failed",
        mark_task("failed"),
        expected_runs=("Cancelled",),
        expected_state="failed",
        state_set_by_user=True,
    ),
    Scenario(
        "marked_failed_503",
        "A user marks the deferred task failed, and dbt Cloud answers 503 to the first two cancel requests",
        mark_task_and_fail_cancel(status=503),
        expected_runs=("Cancelled",),
        expected_state="failed",
        state_set_by_user=True,
    ),
    Scenario(
        "marked_failed_html",
        "A user marks the deferred task failed, and a proxy answers two cancel requests with HTML",
        mark_task_and_fail_cancel(html=True),
        expected_runs=("Cancelled",),
        expected_state="failed",
        state_set_by_user=True,
    ),
    Scenario(
        "marked_failed_slow_secrets",
        "A user marks the deferred task failed, and the secrets backend takes 1.5 seconds",
        mark_task("failed"),
        expected_runs=("Cancelled",),
        expected_state="failed",
        state_set_by_user=True,
        arguments=SLOW_SECRETS,
    ),
    Scenario(
        "marked_success_slow_secrets",
        "A user marks the deferred task successful, and the secrets backend takes 1.5 seconds",
        mark_task("success"),
        expected_runs=("Cancelled",),
        state_set_by_user=True,
        arguments=SLOW_SECRETS,
    ),
    Scenario(
        "marked_success",
        "A user marks the deferred task successful",
        mark_task("success"),
        expected_runs=("Cancelled",),
        state_set_by_user=True,
    ),
    Scenario(
        "cleared",
        "A user clears the deferred task",
        clear_waiting_task,
        expected_runs=("Cancelled", "Success"),
    ),
    Scenario(
        "canceled",
        "A user cancels the run in dbt Cloud",
        cancel_run,
        expected_log=("DbtCloudJobRunCancelled: dbt Cloud run .* ended: Cancelled. Cancelled by user",),
        expected_runs=("Cancelled",),
        expected_state="failed",
        arguments={"retries": 2},
    ),
    Scenario(
        "failed_once",
        "A model fails, and is fixed before the retry (`retry_from_failure`)",
        fail_first_run,
        expected_log=FAILED_RUN_LOG,
        expected_runs=("Error", "Success"),
        arguments={"retry_from_failure": True, "retry_delay": timedelta(seconds=5)},
    ),
    Scenario(
        "cleared_after_success",
        "A user clears the task after its success",
        clear_successful_task,
        expected_runs=("Success", "Success"),
    ),
    Scenario(
        "retries_lowered",
        "A user lowers `retries` in the Dag, and clears the task after its success",
        lower_retries_and_clear,
        expected_runs=("Success", "Success"),
        edited_arguments={"retries": 0},
    ),
    Scenario(
        "dag_run_recreated",
        "A user deletes the Dag run and triggers it again with the same ID, and the submission is lost",
        recreate_dag_run,
        expected_log=(LOST_SUBMISSION_LOG.format("did not answer POST"),),
        expected_runs=("Success", "Success"),
    ),
    Scenario(
        "race",
        "Two tasks start the same job at the same time (`reuse_existing_run`)",
        race,
        expected_log=("Joining dbt Cloud run",),
        task_count=2,
        arguments={"reuse_existing_run": True},
    ),
    Scenario(
        "timeout",
        "`execution_timeout` passes while the task is deferred",
        exceed_timeout,
        expected_log=TIMEOUT_LOG,
        expected_runs=("Cancelled",),
        expected_state="failed",
        arguments=SHORT_TIMEOUT,
    ),
    Scenario(
        "timeout_in_worker",
        "`execution_timeout` passes while the task waits in a worker (not deferrable)",
        exceed_timeout,
        expected_log=TIMEOUT_LOG,
        expected_runs=("Cancelled",),
        expected_state="failed",
        arguments=IN_WORKER | SHORT_TIMEOUT,
    ),
    Scenario(
        "timeout_of_submission",
        "`execution_timeout` passes after the run started, before dbt Cloud answers the submission",
        exceed_timeout,
        expected_runs=("Cancelled",),
        expected_state="failed",
        submitted="unanswered",
        arguments=SHORT_TIMEOUT,
    ),
    Scenario(
        "marked_failed_in_worker",
        "A user marks the task failed while it waits in a worker (not deferrable)",
        mark_task("failed"),
        expected_log=("Canceled dbt Cloud run",),
        expected_runs=("Cancelled",),
        expected_state="failed",
        state_set_by_user=True,
        arguments=IN_WORKER,
    ),
    Scenario(
        "failed",
        "A model fails, and there are no retries",
        fail_run,
        expected_log=(
            *FAILED_RUN_LOG,
            "error +[0-9.]+ +model controlled +.*Runtime Error",
            "XCom run_results: .*'error': 1",
        ),
        expected_runs=("Error",),
        expected_state="failed",
        arguments={"retries": 0},
    ),
)

"""The faults, how each is injected, and the result that this project's operator must have."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # Not at runtime: Dag files import this module.
    from dev.faults.trial import Trial

# This project's operator and the stock provider's.
VARIANTS = ("ours", "stock")

Inject = Callable[["Trial"], None]


@dataclass(frozen=True)
class Scenario:
    """A fault and the expected result.

    :param inject: Starts the Dag and injects the fault.
    :param expected_log: Regular expressions, each found in what our task logs or pushes.
    :param expected_runs: Final statuses of the runs that leave the queue, oldest first.
    :param expected_state: Final state of the task.
    :param state_set_by_user: Whether a user sets the state, which then need not match the run.
    :param exclusive: Whether no other trial may run at the same time, because the fault affects all tasks.
    :param task_count: Number of tasks that run the job at the same time.
    :param kill_worker: Whether the Dag kills its worker as soon as dbt Cloud started the run.
    :param arguments: Additional arguments of the operator.
    """

    name: str
    title: str
    inject: Inject
    expected_log: tuple[str, ...] = ()
    expected_runs: tuple[str, ...] = ("Success",)
    expected_state: str = "success"
    state_set_by_user: bool = False
    exclusive: bool = False
    task_count: int = 1
    kill_worker: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)

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
    """Inject a fault into the requests for the status of the run."""

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


def mark_task_and_fail_cancel(trial: "Trial") -> None:
    """Mark the waiting task failed while dbt Cloud answers 503 to cancel requests."""
    trial.start()
    trial.wait_until_waiting()
    trial.inject_fault(method="POST", path=f"/runs/{trial.runs()[-1].id}/cancel$", status=503, times=2)
    trial.mark_task("failed")


def clear_waiting_task(trial: "Trial") -> None:
    """Clear the waiting task."""
    trial.start()
    trial.wait_until_waiting()
    trial.clear_tasks()
    trial.wait_for_runs(2)
    trial.wait_until_waiting(run_count=2)


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
FAILED_RUN_LOG = ("DbtCloudJobRunFailed: dbt Cloud run .* ended: Error", "This model was told to fail")
IN_WORKER = {"deferrable": False}
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
        exclusive=True,
    ),
    Scenario(
        "poll_html",
        "While waiting: a proxy answers with an HTML page",
        fail_polls(html=True, times=4),
        exclusive=True,
    ),
    Scenario(
        "poll_slow",
        "While waiting: responses take longer than the request timeout",
        fail_polls(delay=7, times=2),
        exclusive=True,
        arguments={"hook_params": {"timeout_seconds": 5}},
    ),
    Scenario(
        "poll_503",
        "While waiting: dbt Cloud answers 503 several times",
        fail_polls(status=503, times=4),
        exclusive=True,
    ),
    Scenario(
        "hidden_run",
        "While waiting: dbt Cloud answers 404 for the new run at first",
        hide_new_run,
        exclusive=True,
    ),
    Scenario(
        "poll_unknown_status",
        "While waiting: dbt Cloud reports an unknown status",
        fail_polls(run_status=42, times=4),
        exclusive=True,
    ),
    Scenario(
        "worker_killed",
        "The worker is killed right after the run started",
        start,
        expected_log=("Reattaching to dbt Cloud run",),
        kill_worker=True,
    ),
    Scenario(
        "triggerer_killed",
        "The triggerer is killed while the task is deferred, and another one takes over",
        replace_triggerer,
        exclusive=True,
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
        exclusive=True,
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
        mark_task_and_fail_cancel,
        expected_runs=("Cancelled",),
        expected_state="failed",
        state_set_by_user=True,
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

"""The faults: how each is brought about, and what must come of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # Dag files import this module: they need no more than the list.
    from dev.faults.case import Case

VARIANTS = ("ours", "stock")


@dataclass(frozen=True)
class Scenario:
    """A fault, and what must hold.

    ``runs`` is how the runs end that dbt Cloud begins to carry out; one that is cancelled in its queue is
    none of them. ``says`` are patterns, found in what the task of ours logs and pushes.
    """

    name: str
    title: str
    bring_about: "Callable[[Case], None]"
    says: tuple[str, ...] = ()
    runs: tuple[str, ...] = ("Success",)
    state: str = "success"
    # A person ends the task, whatever becomes of the run: there is nothing to judge.
    judged_by_hand: bool = False
    # The fault is for all tasks that wait: nothing else may go on beside it.
    alone: bool = False
    tasks: int = 1
    killed_after_post: bool = False
    operator: Mapping[str, Any] = field(default_factory=dict)

    def dag_id(self, variant: str) -> str:
        """Return the id of its Dag."""
        return f"{self.name}_{variant}"

    def job_id(self, variant: str) -> int:
        """Return the id of its job in dbt Cloud: each has its own, so that counts and faults do not mix."""
        return 101 + 2 * SCENARIOS.index(self) + VARIANTS.index(variant)


def trigger_meets(**fault: Any) -> "Callable[[Case], None]":
    """Return what puts a fault on the request that starts a run."""

    def bring_about(case: "Case") -> None:
        case.add_fault(method="POST", path=case.trigger_path, **fault)
        case.start()

    return bring_about


def polls_meet(**fault: Any) -> "Callable[[Case], None]":
    """Return what puts a fault on the requests that ask how the run is."""

    def bring_about(case: "Case") -> None:
        case.start()
        case.wait_until_waiting()
        case.wait_until_met(case.add_fault(method="GET", path=case.poll_path, **fault), while_deferred=True)

    return bring_about


def hidden_at_first(case: "Case") -> None:
    """dbt Cloud does not know its newest runs yet, for a dozen requests."""
    fault = case.add_fault(method="GET", path=r"/runs(/\d+)?$", hide_new_runs=3600, times=12)
    case.start()
    case.wait_until_met(fault)


def killed_worker(case: "Case") -> None:
    """The Dag file does it: a signal from here would come too early or too late."""
    case.start()


def killed_triggerer(case: "Case") -> None:
    """The machine with the triggerer goes away, and another one comes."""
    case.start()
    case.wait_until_waiting()
    case.stack.kill_triggerer()
    case.stack.start_triggerer()
    case.wait_until_another_triggerer_has_it()


def restarted_dbt_cloud(case: "Case") -> None:
    """The local dbt Cloud says what becomes of its runs then: it cancels them."""
    case.start()
    case.wait_until_waiting()
    case.stack.kill_dbt_cloud()
    case.stack.start_dbt_cloud()
    case.end_runs("success")


def marked(state: str) -> "Callable[[Case], None]":
    """Return what marks the waiting task, as a person does in Airflow's UI."""

    def bring_about(case: "Case") -> None:
        case.start()
        case.wait_until_waiting()
        case.mark(state)

    return bring_about


def marked_while_busy(case: "Case") -> None:
    """A person marks the waiting task failed while dbt Cloud is busy."""
    case.start()
    case.wait_until_waiting()
    case.add_fault(method="POST", path=f"/runs/{case.runs()[-1].id}/cancel$", status=503, times=2)
    case.mark("failed")


def cleared(case: "Case") -> None:
    """A person clears the waiting task."""
    case.start()
    case.wait_until_waiting()
    case.clear()
    case.wait_for_runs(2)
    case.wait_until_waiting(run=2)


def cleared_after_success(case: "Case") -> None:
    """A person clears the task that has succeeded."""
    case.start()
    case.end_runs("success")
    case.wait_until_over()
    case.clear()
    case.wait_for_runs(2)


def cancelled(case: "Case") -> None:
    """A person cancels the run in dbt Cloud."""
    case.start()
    case.wait_until_waiting()
    case.cancel_run()
    case.end_runs("success")


def fails_once(case: "Case") -> None:
    """The model fails; by the next try it is mended."""
    case.end_runs("error")
    case.start()
    case.wait_until_run_has_ended()
    case.end_runs("success")


def fails(case: "Case") -> None:
    """The model fails."""
    case.end_runs("error")
    case.start()
    case.wait_until_over()


def race(case: "Case") -> None:
    """Both tasks have seen that no run is active before either's request is acted on."""
    fault = case.add_fault(method="POST", path=case.trigger_path, delay=8, times=2)
    case.start()
    case.wait_until_met(fault)
    case.wait_until_waiting()


def never_ends(case: "Case") -> None:
    """The run takes longer than the task may."""
    case.start()
    case.wait_until_over()


HELD = {"deferrable": False}
TIMED = {"retries": 0, "execution_timeout": timedelta(seconds=15)}
SCENARIOS = (
    Scenario(
        "answer_lost",
        "The run is started, but the answer to the request is lost",
        trigger_meets(drop="after"),
        ("did not answer POST .*Looking for",),
    ),
    Scenario(
        "trigger_503",
        "The request to start the run is refused with 503",
        trigger_meets(status=503),
        ("answered 503 .*Looking for",),
    ),
    Scenario(
        "trigger_503_acted",
        "The request is answered with 503, but the run is started all the same",
        trigger_meets(status=503, acts=True),
        ("answered 503 .*Looking for",),
    ),
    Scenario(
        "trigger_429",
        "The request to start the run is refused with 429 and a Retry-After",
        trigger_meets(status=429, retry_after=1),
    ),
    Scenario(
        "poll_dropped",
        "While waiting: dbt Cloud closes the connection without an answer",
        polls_meet(drop="before", times=4),
        alone=True,
    ),
    Scenario(
        "poll_html",
        "While waiting: a proxy answers with an HTML page",
        polls_meet(html=True, times=4),
        alone=True,
    ),
    Scenario(
        "poll_slow",
        "While waiting: answers take longer than the time limit of a request",
        polls_meet(delay=7, times=2),
        alone=True,
        operator={"hook_params": {"timeout_seconds": 5}},
    ),
    Scenario(
        "poll_503",
        "While waiting: dbt Cloud answers 503 for a while",
        polls_meet(status=503, times=4),
        alone=True,
    ),
    Scenario(
        "hidden_run",
        "dbt Cloud answers 404 for the new run at first",
        hidden_at_first,
        alone=True,
    ),
    Scenario(
        "poll_unknown_status",
        "While waiting: dbt Cloud reports a status that nobody knows",
        polls_meet(run_status=42, times=4),
        alone=True,
    ),
    Scenario(
        "worker_killed",
        "The worker is killed right after the run was started",
        killed_worker,
        ("An earlier try of this task started run",),
        killed_after_post=True,
    ),
    Scenario(
        "triggerer_killed",
        "The triggerer is killed while the task waits, and another one starts",
        killed_triggerer,
        alone=True,
    ),
    Scenario(
        "dbt_cloud_restarted",
        "dbt Cloud goes down while the run goes on, comes back, and has cancelled the run",
        restarted_dbt_cloud,
        ("DbtCloudJobRunCancelled: Run .* ended: Cancelled. The local dbt Cloud was stopped",),
        runs=("Cancelled",),
        state="failed",
        alone=True,
    ),
    Scenario(
        "marked_failed",
        "A person marks the waiting task failed",
        marked("failed"),
        runs=("Cancelled",),
        state="failed",
        judged_by_hand=True,
    ),
    Scenario(
        "marked_failed_503",
        "A person marks the waiting task failed, and dbt Cloud refuses to cancel with 503, twice",
        marked_while_busy,
        runs=("Cancelled",),
        state="failed",
        judged_by_hand=True,
    ),
    Scenario(
        "marked_success",
        "A person marks the waiting task successful",
        marked("success"),
        runs=("Cancelled",),
        judged_by_hand=True,
    ),
    Scenario(
        "cleared",
        "A person clears the waiting task",
        cleared,
        runs=("Cancelled", "Success"),
    ),
    Scenario(
        "cancelled",
        "A person cancels the run in dbt Cloud",
        cancelled,
        ("DbtCloudJobRunCancelled: Run .* ended: Cancelled. Cancelled by user",),
        runs=("Cancelled",),
        state="failed",
        operator={"retries": 2},
    ),
    Scenario(
        "fails_once",
        "A model fails, and is mended before the retry (retry_from_failure)",
        fails_once,
        ("DbtCloudJobRunFailed: Run .* ended: Error", "This model was told to fail"),
        runs=("Error", "Success"),
        operator={"retry_from_failure": True, "retry_delay": timedelta(seconds=5)},
    ),
    Scenario(
        "cleared_after_success",
        "A person clears the task after its success",
        cleared_after_success,
        runs=("Success", "Success"),
    ),
    Scenario(
        "race",
        "Two tasks start the same job at the same moment (reuse_existing_run)",
        race,
        ("Joining run",),
        tasks=2,
        operator={"reuse_existing_run": True},
    ),
    Scenario(
        "timeout",
        "execution_timeout passes while the task waits in the triggerer",
        never_ends,
        ("DbtCloudJobRunTimedOut: Run .* took longer than the task's execution_timeout", "Cancelled run"),
        runs=("Cancelled",),
        state="failed",
        operator=TIMED,
    ),
    Scenario(
        "timeout_held",
        "execution_timeout passes while the task waits in a worker (not deferrable)",
        never_ends,
        ("DbtCloudJobRunTimedOut: Run .* took longer than the task's execution_timeout", "Cancelled run"),
        runs=("Cancelled",),
        state="failed",
        operator=HELD | TIMED,
    ),
    Scenario(
        "marked_failed_held",
        "A person marks the task failed while it waits in a worker (not deferrable)",
        marked("failed"),
        ("Cancelled run",),
        runs=("Cancelled",),
        state="failed",
        judged_by_hand=True,
        operator=HELD,
    ),
    Scenario(
        "fails",
        "A model fails, and there are no retries",
        fails,
        (
            "DbtCloudJobRunFailed: Run .* ended: Error",
            "error +[0-9.]+ +model until_told +.*Runtime Error",
            "This model was told to fail",
            "XCom run_results: .*'error': 1",
        ),
        runs=("Error",),
        state="failed",
        operator={"retries": 0},
    ),
)

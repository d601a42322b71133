"""What later tries of a task instance must know, kept in Airflow's task state store."""

from dataclasses import asdict, dataclass
from threading import Thread
from typing import Any

SUBMISSION = "dbt_cloud_submission"
CANCELED_RUN = "dbt_cloud_canceled_run"


@dataclass(frozen=True)
class Submission:
    """The last attempt to start a run.

    :param tag: Tag of the run; empty if no run was attempted.
    :param after: ID of the task instance's previous run, 0 if there is none: the new run's is higher.
    :param at: Seconds since the epoch.
    """

    tag: str = ""
    after: int = 0
    at: float = 0.0


class Checkpoint:
    """The task state store of a task instance; it survives retries.

    Each fact has a key of its own: a slow write of one cannot restore an old value of another.
    """

    def __init__(self, store: Any) -> None:
        self._store = store
        # The run that this process canceled, if any.
        self.canceled_run: int | None = None

    def load_submission(self) -> Submission:
        """Return the last submission."""
        return Submission(**(self._store.get(SUBMISSION) or {}))

    def save_submission(self, submission: Submission) -> None:
        """Keep a submission."""
        self._store.set(SUBMISSION, asdict(submission))

    def is_canceled_by_task(self, run_id: int) -> bool:
        """Return whether the task instance itself canceled a run, in this try or an earlier one."""
        return run_id in (self.canceled_run, self._store.get(CANCELED_RUN))

    def save_canceled_run(self, run_id: int) -> Thread:
        """Keep that the task instance itself cancels a run; return the thread that writes it.

        In a thread: the signal to end may arrive while Airflow's own request holds a lock.
        """
        self.canceled_run = run_id
        thread = Thread(target=self._store.set, args=[CANCELED_RUN, run_id], daemon=True)
        thread.start()
        return thread

"""What later tries of a task instance must know, kept in Airflow's task state store."""

from dataclasses import asdict, dataclass
from threading import Thread
from typing import Any

SUBMISSION = "dbt_cloud_submission"
CANCELED_RUN = "dbt_cloud_canceled_run"


@dataclass(frozen=True)
class Submission:
    """The last attempt to start a run.

    :param tag: The tag of the run.
    :param after: ID of the task instance's previous run, 0 if there is none: the new run's is higher.
    :param at: When it was attempted, in seconds since the epoch.
    """

    tag: str = ""
    after: int = 0
    at: float = 0.0


class Checkpoint:
    """The task state store of one task instance; without a store (None) nothing is kept.

    Each fact has a key of its own: a slow write of one can never restore an old value of another.
    """

    def __init__(self, store: Any) -> None:
        self._store = store
        self._canceled_run: int | None = None

    @property
    def is_kept(self) -> bool:
        """Whether Airflow keeps it for later tries."""
        return self._store is not None

    def load_submission(self) -> Submission:
        """Return the last submission, an empty one if there is none."""
        value = self._store.get(SUBMISSION) if self._store is not None else None
        return Submission(**value) if value else Submission()

    def save_submission(self, submission: Submission) -> None:
        """Keep a submission."""
        if self._store is not None:
            self._store.set(SUBMISSION, asdict(submission))

    def is_canceled_by_task(self, run_id: int) -> bool:
        """Return whether the task instance itself canceled a run, in this try or an earlier one."""
        stored = self._store.get(CANCELED_RUN) if self._store is not None else None
        return run_id in (self._canceled_run, stored)

    def save_canceled_run(self, run_id: int) -> Thread:
        """Keep that the task instance itself cancels a run; return the thread that writes it.

        In a thread: the signal to end may arrive while Airflow's own request holds a lock.
        """
        self._canceled_run = run_id
        thread = Thread(target=self._store_canceled_run, args=[run_id], daemon=True)
        thread.start()
        return thread

    def _store_canceled_run(self, run_id: int) -> None:
        if self._store is not None:
            self._store.set(CANCELED_RUN, run_id)

"""Save what later tries of a task instance need to know in Airflow's task state store."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from include.dbt_cloud.job_run import JobRun

if TYPE_CHECKING:
    from airflow.sdk.types import Logger

# Differs from the key of the first version, which stored another format.
SUBMISSION = "dbt_cloud_last_submission"
CANCELED_RUN = "dbt_cloud_canceled_run"
REPORTED_RUN = "dbt_cloud_reported_run"


@dataclass(frozen=True)
class Submission:
    """The last attempt to start a run.

    :param tag: Tag of the run.
    :param job_id: ID of the job; a later try may have another one.
    :param overrides: Digest of the run's overrides of its job, such as the steps, to detect a change.
    :param at: Time of the attempt, in seconds since the epoch.
    :param continued_run: ID of the failed run that the new run may continue, 0 if there is none.
    :param max_tries: ``max_tries`` of the task instance; a clear changes it, unless ``retries`` was lowered.
    :param retries: ``retries`` of the task.
    :param clear_number: ``clear_number`` of the Dag run; a clear of any of its tasks changes it.
    """

    tag: str
    job_id: int
    overrides: str
    at: float = 0.0
    continued_run: int = 0
    max_tries: int = 0
    retries: int = 0
    clear_number: int = 0

    def started(self, run: JobRun) -> bool:
        """Return whether this attempt started a run, and nobody else did, who retries it in dbt Cloud."""
        # dbt Cloud gives a retry of a failed run a different cause.
        return self.tag in run.cause or 0 != self.continued_run == run.retrying_run_id


class _MemoryStore(dict[str, Any]):
    def set(self, key: str, value: Any) -> None:
        self[key] = value


class Checkpoint:
    """What a task instance saves for its later tries; from Airflow 3.4, a clear deletes it.

    Each fact has its own key, so that a slow write of one fact cannot restore an old value of another.

    :param store: The task state store; None to keep the facts in memory, for this try only.
    """

    def __init__(self, store: Any, log: "Logger") -> None:
        self._store = _MemoryStore() if store is None else store
        self._log = log
        # The run that this process canceled, if any.
        self.canceled_run: int | None = None

    def load_submission(self) -> Submission | None:
        """Return the last submission; None if no run was started."""
        stored = self._store.get(SUBMISSION)
        return Submission(**stored) if stored else None

    def save_submission(self, submission: Submission | None) -> None:
        """Save a submission. Raises if the store fails, because a later try could not find the run."""
        self._store.set(SUBMISSION, asdict(submission) if submission else {})

    def is_canceled_by_task(self, run_id: int) -> bool:
        """Return whether the task instance itself canceled a run, in this try or an earlier one."""
        return run_id in (self.canceled_run, self._store.get(CANCELED_RUN))

    def save_canceled_run(self, run_id: int) -> None:
        """Save that the task instance itself cancels a run."""
        self.canceled_run = run_id
        self._save(CANCELED_RUN, run_id)

    def is_reported(self, run_id: int) -> bool:
        """Return whether a run's outcome became the task's final state."""
        return self._store.get(REPORTED_RUN) == run_id

    def save_reported_run(self, run_id: int) -> None:
        """Save that a run's outcome becomes the task's final state: only a clear can start a later try."""
        self._save(REPORTED_RUN, run_id)

    def _save(self, key: str, run_id: int) -> None:
        try:
            self._store.set(key, run_id)
        except Exception as error:
            self._log.warning("Could not write to the task state store: %s", error)

"""Submit at most one dbt Cloud run per task instance, whatever fails in between.

Airflow's ``ResumableJobMixin`` stores a run's ID once it is known, and so loses a run whose worker dies, or
whose answer is lost, between the request and that moment. Here the run carries a tag, by which a later try
finds it.
"""

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow.providers.dbt.cloud.hooks.dbt import DbtCloudJobRunException
from airflow.sdk.exceptions import AirflowException

from include.dbt_cloud.checkpoint import Checkpoint, Submission
from include.dbt_cloud.exceptions import DbtCloudJobRunCancelled, DbtCloudRequestError, DbtCloudResponseError
from include.dbt_cloud.hook import DbtCloudHook
from include.dbt_cloud.job_run import JobRun
from include.dbt_cloud.run_tags import find_tagged_run, tagged_cause

if TYPE_CHECKING:
    from airflow.sdk.types import Logger

MAX_SUBMIT_ATTEMPTS = 3
# Seconds for which dbt Cloud may not list a run that it has just started.
CONSISTENCY_WINDOW = 60


def cancel_run(
    hook: DbtCloudHook, run_id: int, account_id: int | None, checkpoint: Checkpoint, log: "Logger"
) -> bool:
    """Cancel a run on behalf of the task, and keep that; return whether dbt Cloud confirmed it."""
    saving = checkpoint.save_canceled_run(run_id)
    try:
        hook.cancel_job_run(run_id, account_id)
        log.info("Canceled dbt Cloud run %s.", run_id)
    except Exception as error:
        log.warning("Could not cancel dbt Cloud run %s: %s", run_id, error)
        return False
    finally:
        saving.join(1)
    return True


@dataclass
class JobRunSubmitter:
    """Submits the run of one task instance, or finds the one to wait for.

    :param tag: Tag of the task instance's runs.
    :param reason: What people read in the run's cause.
    :param overrides: ``steps_override``, ``schema_override`` and ``additional_run_config``.
    :param reuse_existing_run: Whether to join an active run that somebody else started.
    :param retry_from_failure: Whether to continue a failed run from the point of failure.
    :param poll_interval: Seconds between two requests while looking for a run.
    :param outage_tolerance: Seconds for which dbt Cloud may be unreachable while looking for a run.
    """

    hook: DbtCloudHook
    account_id: int
    job_id: int
    tag: str
    reason: str
    checkpoint: Checkpoint
    log: "Logger"
    overrides: dict[str, Any] = field(default_factory=dict)
    reuse_existing_run: bool = False
    retry_from_failure: bool = False
    poll_interval: float = 5
    outage_tolerance: float = 1800
    # The run that a kill may cancel: reattached or submitted, not joined.
    owned_run: JobRun | None = field(default=None, init=False)
    # The run of an earlier try that has ended: the next one is newer, and may continue it.
    previous: JobRun | None = field(default=None, init=False)

    def reattach(self, try_number: int) -> JobRun | None:
        """Return the run of an earlier try if it is active or succeeded; None if this try needs a new run.

        :raises DbtCloudJobRunCancelled: A user canceled it: a new run would override that decision.
        :raises DbtCloudJobRunException: A run that was left behind by a clear cannot be canceled.
        """
        submission = self.checkpoint.load_submission()
        if try_number == 1 or not submission.tag:
            return None
        visible_by = submission.at + self.hook.timeout_seconds + CONSISTENCY_WINDOW
        run = self.find(submission.tag, submission.after, visible_by)
        if run is None:
            return None
        if submission.tag != self.tag:
            # Somebody cleared the task since then.
            self._leave_behind(run)
            return None
        # Without an outcome it may be active, also in a status that is not known.
        if run.outcome in (None, "success"):
            self.log.info("Reattaching to dbt Cloud run %s, which an earlier try started.", run.id)
            self.owned_run = run
            return run
        if run.outcome == "cancelled" and not self.checkpoint.is_canceled_by_task(run.id):
            raise DbtCloudJobRunCancelled(
                f"{run.summary} An earlier try of this task started it. See {run.href}"
            )
        self.previous = run
        return None

    def _leave_behind(self, run: JobRun) -> None:
        if run.outcome is None and not self.cancel(run.id):
            raise DbtCloudJobRunException(
                f"dbt Cloud run {run.id}, started before the task was cleared, could not be canceled and may "
                f"still be active. No second run was started. See {run.href}"
            )
        if run.outcome == "error":
            self.previous = run

    def submit_or_join(self) -> JobRun:
        """Return the run to wait for.

        With ``reuse_existing_run`` the oldest active run of the job counts, also if somebody else started it
        between the check and the submission: then the newer one is canceled in the queue.
        """
        run = self._oldest_active_run() if self.reuse_existing_run else None
        if run is None:
            submitted = self.owned_run = self.submit()
            try:
                run = self._oldest_active_run() if self.reuse_existing_run else None
            except AirflowException as error:
                self.log.warning("Could not check whether another run of the job is active: %s", error)
            if run is None or run.id >= submitted.id or not self.cancel(submitted.id):
                return submitted
            self.owned_run = None
        self.log.info("Joining dbt Cloud run %s, which somebody else started.", run.id)
        return run

    def submit(self) -> JobRun:
        """Start a run; send the request again only if the last one certainly started none.

        :raises DbtCloudRequestError: No run was started, or none was found after an unknown outcome.
        """
        after = self.previous.id if self.previous else 0
        before = self.checkpoint.load_submission()
        for _ in range(MAX_SUBMIT_ATTEMPTS):
            # Before the request: whatever happens from here on, a later try looks for the run.
            self.checkpoint.save_submission(Submission(self.tag, after, time.time()))
            try:
                return self._post()
            except AirflowException as failure:
                if not getattr(failure, "outcome_unknown", False):
                    # No run was started: a later try has none to look for.
                    self.checkpoint.save_submission(before)
                    raise
                error, before = failure, self.checkpoint.load_submission()
            self.log.warning("%s Checking for %s seconds whether a run started.", error, CONSISTENCY_WINDOW)
            run = self.find(self.tag, after, time.time() + CONSISTENCY_WINDOW)
            if run and run.id > after:
                return run
        raise error

    def find(self, tag: str, after: int, until: float) -> JobRun | None:
        """Return the newest run with a tag; wait until a time for one that is newer than a given run.

        An outage is tolerated as while waiting for a run to end.

        :param until: Seconds since the epoch.
        """
        give_up = max(until, time.time() + self.outage_tolerance)
        while True:
            try:
                run = find_tagged_run(self.hook.list_newest_runs(self.job_id, self.account_id), tag, after)
                if (run and run.id > after) or time.time() >= until:
                    return run
            except DbtCloudRequestError as error:
                if not error.retryable or time.time() >= give_up:
                    raise
                self.log.warning("Could not list the runs of job %s: %s", self.job_id, error)
            time.sleep(min(self.poll_interval, 5))

    def cancel(self, run_id: int) -> bool:
        """Cancel a run on behalf of the task; return whether dbt Cloud confirmed it."""
        return cancel_run(self.hook, run_id, self.account_id, self.checkpoint, self.log)

    def _oldest_active_run(self) -> JobRun | None:
        # dbt Cloud executes the oldest first.
        run = self.hook.get_active_job_run(self.job_id, self.account_id, order_by="id")
        return None if run and run.id == self.checkpoint.canceled_run else run

    def _post(self) -> JobRun:
        if self.retry_from_failure and self.previous and self.previous.outcome == "error":
            try:
                return self.hook.retry_run(self.previous.id, self.account_id)
            except DbtCloudResponseError as error:
                if error.outcome_unknown:
                    raise
                self.log.warning("Starting a full run, because retrying from failure was rejected: %s", error)
        cause = tagged_cause(self.tag, self.reason)
        config = self.overrides.get("additional_run_config", {}) | {"cause": cause}
        overrides = self.overrides | {"additional_run_config": config}
        return self.hook.trigger_run(self.job_id, self.account_id, cause, **overrides)

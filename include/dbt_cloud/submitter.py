"""Submit at most one dbt Cloud run per task instance, whatever fails in between.

Airflow's ``ResumableJobMixin`` stores the ID of a run after the request that starts it. If the worker dies or
the answer is lost before that, the run is lost. Here the run carries a tag, by which a later try finds it.

Known limitations, because neither Airflow nor dbt Cloud provides enough information:

- The worker of the last try is killed with SIGKILL, or loses the connection to dbt Cloud, during its request:
  no later try looks for the run. A clear of the task finds and cancels it.
- A worker that stalls before its request may send the request much later. If the task was cleared meanwhile,
  the worker may also cancel the run of a newer try.
- A worker dies, and another task of the Dag run is cleared before the next try: if the worker had already
  reported the run, or the task's number of retries was changed meanwhile, the next try looks like the one
  after a clear, and starts another run.
- A task is cleared while its worker is frozen or dead: the next try waits for the active run.
- From Airflow 3.4, a clear in the seconds before dbt Cloud lists a new run starts a second run.
- A user ends a task while its worker submits or finds the run and defers, or the triggerer is killed before
  it has canceled the run: the run continues.
- With SQLite, a user ends a deferred task, and another task defers within the same second: Airflow may give
  the trigger's ID to the new one without stopping it, and the run continues.
"""

import time
from dataclasses import dataclass, field, replace
from typing import Any

from airflow.providers.dbt.cloud.hooks.dbt import DbtCloudJobRunException
from airflow.sdk.exceptions import AirflowException

from include.dbt_cloud.checkpoint import Submission
from include.dbt_cloud.exceptions import DbtCloudJobRunCancelled, DbtCloudRequestError, DbtCloudResponseError
from include.dbt_cloud.job_run import ACTIVE_STATUSES, JobRun
from include.dbt_cloud.run_canceler import RunCanceler
from include.dbt_cloud.run_tags import find_tagged_run

MAX_SUBMIT_ATTEMPTS = 3
# Seconds for which dbt Cloud may not list a run that it has just started.
CONSISTENCY_WINDOW = 60
# Seconds to look for a run whose request was interrupted: Airflow kills the process after five.
INTERRUPTION_WINDOW = 2
# Seconds by which the clocks of Airflow and dbt Cloud may differ.
CLOCK_SKEW = 3600


@dataclass
class JobRunSubmitter(RunCanceler):
    """Submits the run of one task instance, or finds the one to wait for.

    :param this_try: The submission that this try makes, if it makes one.
    :param instance_tag: Common prefix of the tags of all tries of the task instance.
    :param cause: Cause of the run, with its tag.
    :param overrides: ``steps_override``, ``schema_override`` and ``additional_run_config``.
    :param reuse_existing_run: Whether to join an active run that was started elsewhere.
    :param retry_from_failure: Whether to continue a failed run from the point of failure.
    :param poll_interval: Seconds between two requests while looking for a run.
    :param outage_tolerance: Seconds for which dbt Cloud may be unreachable while looking for a run.
    """

    account_id: int
    this_try: Submission
    instance_tag: str
    cause: str
    overrides: dict[str, Any] = field(default_factory=dict)
    reuse_existing_run: bool = False
    retry_from_failure: bool = False
    poll_interval: float = 2
    outage_tolerance: float = 1800
    # The failed run of an earlier try, which this one may continue.
    continued_run: int = field(default=0, init=False)
    # The submission whose run is being looked for, or waited for.
    pending: Submission | None = field(default=None, init=False)

    def reattach(self) -> JobRun | None:
        """Return the run of an earlier try if it is active or succeeded; None if this try needs a new run.

        :raises DbtCloudJobRunCancelled: A user canceled the run: a new run would override that decision.
        :raises DbtCloudJobRunException: A run that was left behind by a clear cannot be canceled.
        """
        last = self.pending = self.checkpoint.load_submission()
        if last is None:
            self._cancel_untracked()
            return None
        hidden = self.hook.timeout_seconds + CONSISTENCY_WINDOW
        # Bounded: the clock of the worker of the last try may have been wrong.
        run = self.find(last, min(hidden, last.at + hidden - time.time()), self.outage_tolerance)
        self.pending = None
        if run is None:
            self._continue(last.continued_run, last)
            return None
        is_own = last.started(run)
        if self._is_cleared_since(last, run):
            if is_own:
                self._leave_behind(run)
        # A run without an outcome may be active: it may have a status that is unknown here.
        elif run.outcome in (None, "success"):
            if is_own:
                self.log.info("Reattaching to dbt Cloud run %s, which an earlier try started.", run.id)
                self.owned_run = run.id
            else:
                self.log.info("Joining dbt Cloud run %s, which retries the run of an earlier try.", run.id)
            return run
        elif run.outcome == "cancelled" and is_own and not self.checkpoint.is_canceled_by_task(run.id):
            self.checkpoint.save_reported_run(run.id)
            raise DbtCloudJobRunCancelled(
                f"{run.summary} An earlier try started it. Clear the task to run it again."
            )
        self._continue(run.id if run.outcome == "error" else 0, last)
        return None

    def _continue(self, run_id: int, last: Submission) -> None:
        # dbt Cloud would repeat the steps of the failed run, even if the Dag was corrected since then.
        then, now = (last.job_id, last.overrides), (self.this_try.job_id, self.this_try.overrides)
        self.continued_run = run_id if self.retry_from_failure and then == now else 0

    def _is_cleared_since(self, last: Submission, run: JobRun) -> bool:
        this = self.this_try
        if last.max_tries != this.max_tries:
            return True
        if last.clear_number == this.clear_number:
            return False
        # A task of the Dag run was cleared. A clear of this task keeps max_tries if it stopped the running
        # task, or if the number of retries was lowered.
        is_final = run.outcome == "cancelled" or self.checkpoint.is_canceled_by_task(run.id)
        return is_final or self.checkpoint.is_reported(run.id) or last.retries != this.retries

    def _leave_behind(self, run: JobRun) -> None:
        if run.outcome is None and not self.cancel(run.id):
            raise DbtCloudJobRunException(
                f"dbt Cloud run {run.id}, started before the task was cleared, could not be canceled and may "
                f"still be active. No second run was started. See {run.href}"
            )

    def _cancel_untracked(self) -> None:
        """Cancel active runs of earlier tries whose submissions are not known: a clear deleted them."""
        statuses = str(list(ACTIVE_STATUSES))
        # Search all jobs: an earlier try may have run another job.
        for run in self.hook.list_runs(None, self.account_id, None, status__in=statuses):
            # Without retry_from_failure, a retry of the task's run was started elsewhere.
            is_own = self.instance_tag in run.cause or (
                self.retry_from_failure and self.hook.is_started_by(run, [self.instance_tag], self.account_id)
            )
            if is_own:
                self._leave_behind(run)

    def submit_or_join(self) -> JobRun:
        """Return the run to wait for.

        With ``reuse_existing_run``, that is the oldest active run of the job. If a run was started elsewhere
        between the check and the submission, the task's own run is canceled in the queue.
        """
        run = self._oldest_active_run() if self.reuse_existing_run else None
        if run is None:
            submitted = self.submit()
            self.owned_run = submitted.id
            try:
                run = self._oldest_active_run() if self.reuse_existing_run else None
            except AirflowException as error:
                self.log.warning("Could not check whether another run of the job is active: %s", error)
            if run is None or run.id >= submitted.id or not self.cancel(submitted.id):
                return submitted
            self.owned_run = None
        self.log.info("Joining dbt Cloud run %s, which was started elsewhere.", run.id)
        return run

    def _oldest_active_run(self) -> JobRun | None:
        # dbt Cloud executes the oldest first.
        run = self.hook.get_active_job_run(self.this_try.job_id, self.account_id, order_by="id")
        return None if run and run.id == self.checkpoint.canceled_run else run

    def submit(self) -> JobRun:
        """Start a run; resend the request only if the previous one did not start a run.

        :raises DbtCloudRequestError: No run was started, or none was found after an unknown outcome.
        """
        before = self.checkpoint.load_submission()
        submission = self.this_try
        for _ in range(MAX_SUBMIT_ATTEMPTS):
            submission = replace(submission, at=time.time(), continued_run=self.continued_run)
            # Saved before the request, so that a later try looks for the run in any case.
            self.checkpoint.save_submission(submission)
            self.pending = submission
            try:
                return self._post()
            except AirflowException as failure:
                if not getattr(failure, "outcome_unknown", False):
                    # No run was started: a later try must not look for one.
                    self.checkpoint.save_submission(before)
                    self.pending = before
                    raise
                error, before = failure, submission
            self.log.warning("%s Checking for %s seconds whether a run started.", error, CONSISTENCY_WINDOW)
            if run := self.find(submission, CONSISTENCY_WINDOW, self.outage_tolerance):
                return run
        raise error

    def _post(self) -> JobRun:
        if self.kill_pending:
            raise AirflowException("No dbt Cloud run was started, because the task is being killed.")
        if self.continued_run:
            try:
                return self.hook.retry_run(self.continued_run, self.account_id)
            except DbtCloudResponseError as error:
                if error.retryable:
                    raise
                self.log.warning("Starting a full run, because retrying from failure was rejected: %s", error)
        config = self.overrides.get("additional_run_config", {}) | {"cause": self.cause}
        overrides = self.overrides | {"additional_run_config": config}
        return self.hook.trigger_run(self.this_try.job_id, self.account_id, self.cause, **overrides)

    def find(self, submission: Submission, wait: float, outage_tolerance: float) -> JobRun | None:
        """Return the run of a submission; None if dbt Cloud does not list it within ``wait`` seconds.

        :param wait: Seconds to look for the run.
        :param outage_tolerance: Seconds for which dbt Cloud may not answer, or answer with an error.
        """
        started, warned = time.monotonic(), False
        while True:
            elapsed = time.monotonic() - started
            try:
                since = submission.at - CLOCK_SKEW
                runs = self.hook.list_runs(submission.job_id, self.account_id, since)
                run = find_tagged_run(runs, submission.tag, submission.continued_run)
                if run or elapsed >= wait:
                    return run
            except DbtCloudRequestError as error:
                if elapsed >= max(wait, outage_tolerance):
                    raise
                if not warned:
                    self.log.warning("Could not look for runs of job %s: %s", submission.job_id, error)
                warned = True
            time.sleep(min(self.poll_interval, 5))

    def find_owned_run(self) -> int | None:
        """Return the ID of the task's own run, even if its request has not been answered yet.

        The search is short, because the task is about to end.
        """
        self.hook.stop_retrying()
        if self.owned_run or not self.pending:
            return self.owned_run
        try:
            run = self.find(self.pending, INTERRUPTION_WINDOW, INTERRUPTION_WINDOW)
        except Exception as error:
            self.log.warning("Could not look for a run that may have started: %s", error)
            return None
        return run.id if run and self.pending.started(run) else None

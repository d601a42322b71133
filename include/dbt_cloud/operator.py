"""Run a dbt Cloud job exactly once per task instance and report its real outcome."""

import asyncio
import time
from functools import cached_property
from typing import Any

from airflow.providers.dbt.cloud.hooks.dbt import DbtCloudJobRunException
from airflow.providers.dbt.cloud.operators.dbt import DbtCloudRunJobOperator as ProviderOperator
from airflow.providers.dbt.cloud.utils.openlineage import inject_parent_job_information_into_dbt_cloud_cause
from airflow.sdk import Asset, Context
from airflow.sdk.exceptions import AirflowTaskTimeout

from include.dbt_cloud.checkpoint import Checkpoint
from include.dbt_cloud.exceptions import RUN_ERRORS, DbtCloudJobRunUnreachable, parse_id
from include.dbt_cloud.hook import DbtCloudHook
from include.dbt_cloud.job_run import JobRun
from include.dbt_cloud.results import first_failed, format_results, read_run_results
from include.dbt_cloud.run_tags import run_tag
from include.dbt_cloud.submitter import JobRunSubmitter, cancel_run
from include.dbt_cloud.trigger import DbtCloudRunJobTrigger


class DbtCloudRunJobOperator(ProviderOperator):
    """Execute a dbt Cloud job: the provider's operator, with the same arguments and the following.

    A retry reattaches to the run of the try before it: it waits for an active run, succeeds with one that
    succeeded, and otherwise starts a new one, or continues the failed one with ``retry_from_failure``. A
    clear cancels the run that was left behind and starts a new one. With ``reuse_existing_run`` the task
    joins an active run that somebody else started, and never cancels it.

    .. code-block:: python

        DbtCloudRunJobOperator(task_id="run_dbt", dbt_cloud_conn_id="dbt_conn", job_id=101, deferrable=True)

    :param check_interval: Seconds between two polls. One poll covers all waiting tasks. Default: 5.
    :param outage_tolerance: Seconds for which dbt Cloud may be unreachable, or not know the run, before the
        task fails. Default: 1800.
    :param cancel_on_kill: Whether to cancel the run when somebody marks the running or deferred task failed
        or successful, or clears it. Default: True.
    :raises DbtCloudJobRunFailed: dbt failed.
    :raises DbtCloudJobRunCancelled: A user canceled the run; not retried.
    :raises DbtCloudJobRunTimedOut: ``timeout`` passed, or ``execution_timeout``, which cancels the run.
    :raises DbtCloudJobRunUnreachable: The outage tolerance was exceeded; the run may still be active.
    """

    def __init__(
        self,
        *,
        check_interval: int = 5,
        outage_tolerance: float = 1800,
        cancel_on_kill: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(check_interval=check_interval, **kwargs)
        self.outage_tolerance = outage_tolerance
        self.cancel_on_kill = cancel_on_kill
        self._checkpoint = Checkpoint(None)
        self._submitter: JobRunSubmitter | None = None
        # Whether self.run_id is this task instance's own run, and not known to have ended.
        self._owned = False
        self._killed = False

    @cached_property
    def hook(self) -> DbtCloudHook:
        """The hook, created with ``hook_params``."""
        return DbtCloudHook(self.dbt_cloud_conn_id, **self.hook_params)

    def execute(self, context: Context) -> int:
        """Submit a run or reattach to one, and wait for it; in the triggerer if ``deferrable``."""
        ti = context["ti"]
        self._checkpoint = Checkpoint(context.get("task_state_store"))
        self._submitter = self._create_submitter(ti)
        run, owned = self._submitter.reattach(ti.try_number), True
        if run is None:
            run, owned = self._submitter.submit_or_join()
        self.run_id, self._owned = run.id, owned
        if self._killed and self.cancel_on_kill and owned:
            self._submitter.cancel(run.id)
            raise DbtCloudJobRunException(f"The task was killed while it started dbt Cloud run {run.id}.")
        self.log.info("dbt Cloud run %s: %s", run.id, run.href)
        ti.xcom_push(key="job_run_url", value=run.href)
        ti.xcom_push(key="job_run_id", value=run.id)
        if not self.wait_for_termination:
            return run.id
        trigger = self._create_trigger(run)
        if self.deferrable and run.outcome is None:
            self.defer(trigger=trigger, method_name="execute_complete")
        try:
            event = asyncio.run(trigger.wait())
        except AirflowTaskTimeout:
            event = trigger.event("timeout")
        return self.execute_complete(context, event.payload)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> int:
        """Log and push the results of the run; return its ID if it succeeded, else raise its outcome."""
        if event is None or event.get("status") not in {"success", *RUN_ERRORS}:
            raise DbtCloudJobRunUnreachable(f"Unexpected trigger event: {event!r}.")
        self._checkpoint = Checkpoint(context.get("task_state_store"))
        # An event of the provider's trigger has no ownership: that one waits for the task's own run.
        self.run_id, owned = event["run_id"], event.get("owned", True)
        status, message = event["status"], event["message"]
        if status == "timeout" and owned and not self._cancel(self.run_id):
            message += " It could not be canceled: cancel it there."
        # From here on there is nothing for a kill to cancel.
        self._owned = False
        status, message = self._confirm(context, status, message)
        if status == "success":
            self.log.info(message)
            return self.run_id
        if status == "cancelled" and not owned:
            raise DbtCloudJobRunException(f"{message} Somebody else started it; a retry starts another run.")
        if status == "cancelled" and self._checkpoint.is_canceled_by_task(self.run_id):
            raise DbtCloudJobRunException(f"{message} The task canceled it.")
        raise RUN_ERRORS[status](message)

    def on_kill(self) -> None:
        """Cancel the run of a task that is killed while it holds a worker."""
        self._killed = True
        submitted = self._submitter.submitted if self._submitter else None
        run_id = self.run_id if self._owned else submitted and not self.run_id and submitted.id
        if run_id and self.cancel_on_kill:
            self._cancel(run_id)

    def _create_submitter(self, ti: Any) -> JobRunSubmitter:
        # Resolved here: in the triggerer an error would end the task without its reason.
        self.account_id = parse_id(self.account_id or self.hook.account_id, "account")
        if self.job_id is None:
            names = {name: getattr(self, name) for name in ("project_name", "environment_name", "job_name")}
            self.job_id = self.hook.get_job_by_name(**names, account_id=self.account_id)["id"]
        self.job_id = parse_id(self.job_id, "job")
        reason = self.additional_run_config.get("cause") or self.trigger_reason
        if self.openlineage_inject_parent_job_info:
            reason = inject_parent_job_information_into_dbt_cloud_cause(reason, ti)
        names = ("steps_override", "schema_override", "additional_run_config")
        return JobRunSubmitter(
            hook=self.hook,
            account_id=self.account_id,
            job_id=self.job_id,
            tag=run_tag(ti),
            reason=reason or "Triggered via Apache Airflow",
            checkpoint=self._checkpoint,
            log=self.log,
            overrides={name: getattr(self, name) for name in names},
            reuse_existing_run=self.reuse_existing_run,
            retry_from_failure=self.retry_from_failure,
            poll_interval=self.check_interval,
            outage_tolerance=self.outage_tolerance,
        )

    def _create_trigger(self, run: JobRun) -> DbtCloudRunJobTrigger:
        limit = self.execution_timeout
        return DbtCloudRunJobTrigger(
            conn_id=self.dbt_cloud_conn_id,
            run_id=run.id,
            end_time=time.time() + self.timeout,
            execution_deadline=time.time() + limit.total_seconds() if limit else None,
            account_id=self.account_id,
            poll_interval=self.check_interval,
            hook_params=self.hook_params,
            outage_tolerance=self.outage_tolerance,
            cancel_on_kill=self.cancel_on_kill,
            owned=self._owned,
        )

    def _cancel(self, run_id: int) -> bool:
        return cancel_run(self.hook, run_id, self.account_id or None, self._checkpoint, self.log)

    def _confirm(self, context: Context, status: str, message: str) -> tuple[str, str]:
        """Publish the results; return the event's status and message, or dbt Cloud's if the run has ended."""
        try:
            run = self.hook.get_run(self.run_id, self.account_id or None, ["run_steps"])
            # It may have ended just after the event, or while it could not be polled: dbt Cloud decides.
            if (
                run.outcome
                and status != "success"
                and not (run.outcome == "cancelled" and status == "timeout")
            ):
                status, message = run.outcome, run.summary
            failed = run.outcome and self._publish_results(context, run)
            if failed and status == "error":
                message += f" First: {failed['unique_id']}: {failed['message']}"
        except (Exception, AirflowTaskTimeout) as error:
            # The verdict matters more than the results.
            self.log.warning("Could not read the results of dbt Cloud run %s: %s", self.run_id, error)
        return status, message

    def _publish_results(self, context: Context, run: JobRun) -> dict[str, Any] | None:
        """Log and push the results of the nodes; return the first failed one."""
        failed = None
        try:
            results = read_run_results(self.hook, run)
            failed = first_failed(results)
        finally:
            if run.outcome != "success" and not failed:
                # It failed outside of any node, or its nodes cannot be read: dbt's log says why.
                self.hook.log_job_run_failure_details(run.id, self.account_id or None)
        self.log.info("dbt Cloud run %s: %s", run.id, format_results(results))
        context["ti"].xcom_push(key="run_results", value=results)
        for outlet in self.outlets if run.outcome == "success" else ():
            if isinstance(outlet, Asset):
                context["outlet_events"][outlet].extra = results
        return failed

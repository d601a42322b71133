"""Run a dbt Cloud job exactly once per task instance and report its real outcome."""

import asyncio
import time
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from airflow.providers.dbt.cloud.hooks.dbt import DbtCloudJobRunException
from airflow.providers.dbt.cloud.operators.dbt import DbtCloudRunJobOperator as ProviderOperator
from airflow.providers.dbt.cloud.utils.openlineage import inject_parent_job_information_into_dbt_cloud_cause
from airflow.sdk import Asset, AssetAlias, Context
from airflow.sdk.exceptions import AirflowTaskTimeout

from include.dbt_cloud.checkpoint import Checkpoint
from include.dbt_cloud.exceptions import RUN_ERRORS, DbtCloudJobRunUnreachable, parse_id
from include.dbt_cloud.hook import DbtCloudHook
from include.dbt_cloud.job_run import JobRun
from include.dbt_cloud.lineage import executed_steps
from include.dbt_cloud.model_assets import MODELS, built_models
from include.dbt_cloud.results import first_failed, format_results, read_run_results
from include.dbt_cloud.run_tags import run_tag
from include.dbt_cloud.submitter import JobRunSubmitter, cancel_run
from include.dbt_cloud.trigger import DbtCloudRunJobTrigger, message_of


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
    :param model_assets: Names of models, or patterns such as ``stg_*``, that become assets: a successful run
        adds an event for each one that it built. ``model_asset`` returns such an asset. A mapped task needs
        ``MODELS`` among its outlets. A failed task updates no asset: that is Airflow's rule. Default: none.
    :param mapped_outlet: Asset that this instance of a mapped task updates through an ``AssetAlias`` among
        its outlets, which are the same for all instances.
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
        model_assets: Sequence[str] = (),
        mapped_outlet: Asset | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(check_interval=check_interval, **kwargs)
        self.model_assets = model_assets
        self.mapped_outlet = mapped_outlet
        if model_assets and MODELS not in self.outlets:
            self.outlets = [*self.outlets, MODELS]
        self.outage_tolerance = outage_tolerance
        self.cancel_on_kill = cancel_on_kill
        self._submitter: JobRunSubmitter | None = None
        self._killed = False

    @cached_property
    def hook(self) -> DbtCloudHook:
        """The hook, created with ``hook_params``."""
        return DbtCloudHook(self.dbt_cloud_conn_id, **self.hook_params)

    def execute(self, context: Context) -> int:
        """Submit a run or reattach to one, and wait for it; in the triggerer if ``deferrable``."""
        ti = context["ti"]
        self._submitter = self._create_submitter(ti, Checkpoint(context["task_state_store"]))
        run = self._submitter.reattach(ti.try_number) or self._submitter.submit_or_join()
        self.run_id = run.id
        if self._killed:
            self.on_kill()
            raise DbtCloudJobRunException(f"The task was killed while it started dbt Cloud run {run.id}.")
        self.log.info("dbt Cloud run %s: %s", run.id, run.href)
        ti.xcom_push(key="job_run_url", value=run.href)
        ti.xcom_push(key="job_run_id", value=run.id)
        if not self.wait_for_termination:
            return run.id
        trigger = self._create_trigger(run.id, owned=self._submitter.owned_run is not None)
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
        # In the same process with what on_kill kept, which the store may not have yet.
        submitter, store = self._submitter, context["task_state_store"]
        checkpoint = submitter.checkpoint if submitter else Checkpoint(store)
        # An event of the provider's trigger has no ownership: that one waits for the task's own run.
        self.run_id, owned = event["run_id"], event.get("owned", True)
        canceled = event["status"] == "timeout" and owned and self._cancel(self.run_id, checkpoint)
        # From here on there is nothing for a kill to cancel.
        self._submitter = None
        event, failed = self._confirm(context, event)
        status = event["status"]
        if status == "success":
            self.log.info(message_of(event))
            return self.run_id
        if status == "cancelled" and not owned:
            detail = "Somebody else started it; a retry starts another run."
            raise DbtCloudJobRunException(message_of(event, detail))
        if status == "cancelled" and checkpoint.is_canceled_by_task(self.run_id):
            raise DbtCloudJobRunException(message_of(event, "The task canceled it."))
        if status == "timeout" and owned and not canceled:
            failed = "It could not be canceled: cancel it there."
        raise RUN_ERRORS[status](message_of(event, failed))

    def on_kill(self) -> None:
        """Cancel the run of a task that is killed while it holds a worker."""
        self._killed = True
        if self._submitter and self._submitter.owned_run and self.cancel_on_kill:
            self._submitter.cancel(self._submitter.owned_run.id)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """Emit OpenLineage events for the models that the run built, also with ``steps_override``."""
        with executed_steps(self.hook):
            return super().get_openlineage_facets_on_complete(task_instance)

    def _create_submitter(self, ti: Any, checkpoint: Checkpoint) -> JobRunSubmitter:
        # Resolved here: in the triggerer an error would end the task without its reason.
        self.account_id = parse_id(self.account_id or self.hook.account_id, "account")
        if self.job_id is None:
            if not (self.project_name and self.environment_name and self.job_name):
                raise ValueError("Set job_id, or all of project_name, environment_name and job_name.")
            by_name = {name: getattr(self, name) for name in ("project_name", "environment_name", "job_name")}
            self.job_id = self.hook.get_job_by_name(**by_name, account_id=self.account_id)["id"]
        self.job_id = parse_id(self.job_id, "job")
        reason = self.additional_run_config.get("cause") or self.trigger_reason
        if self.openlineage_inject_parent_job_info:
            reason = inject_parent_job_information_into_dbt_cloud_cause(reason, ti)
        return JobRunSubmitter(
            hook=self.hook,
            account_id=self.account_id,
            job_id=self.job_id,
            tag=run_tag(ti),
            reason=reason or "Triggered via Apache Airflow",
            checkpoint=checkpoint,
            log=self.log,
            overrides={
                "steps_override": self.steps_override,
                "schema_override": self.schema_override,
                "additional_run_config": self.additional_run_config,
            },
            reuse_existing_run=self.reuse_existing_run,
            retry_from_failure=self.retry_from_failure,
            poll_interval=self.check_interval,
            outage_tolerance=self.outage_tolerance,
        )

    def _create_trigger(self, run_id: int, owned: bool) -> DbtCloudRunJobTrigger:
        limit = self.execution_timeout
        return DbtCloudRunJobTrigger(
            conn_id=self.dbt_cloud_conn_id,
            run_id=run_id,
            end_time=time.time() + self.timeout,
            execution_deadline=time.time() + limit.total_seconds() if limit else None,
            account_id=self.account_id,
            poll_interval=self.check_interval,
            hook_params=self.hook_params,
            outage_tolerance=self.outage_tolerance,
            cancel_on_kill=self.cancel_on_kill,
            owned=owned,
        )

    def _cancel(self, run_id: int, checkpoint: Checkpoint) -> bool:
        return cancel_run(self.hook, run_id, self.account_id or None, checkpoint, self.log)

    def _confirm(self, context: Context, event: dict[str, Any]) -> tuple[dict[str, Any], str]:
        """Publish the results; return the event as dbt Cloud confirms it, and which node failed first."""
        failed = ""
        try:
            run = self.hook.get_run(event["run_id"], self.account_id or None, ["run_steps"])
            event = event | {"href": run.href}
            # It may have ended just after the event, or while it could not be polled: dbt Cloud decides.
            canceled_by_timeout = run.outcome == "cancelled" and event["status"] == "timeout"
            if run.outcome and event["status"] != "success" and not canceled_by_timeout:
                event |= {"status": run.outcome, "message": run.summary}
            node = run.outcome and self._publish_results(context, run)
            if node and event["status"] == "error":
                failed = f"First: {node['unique_id']}: {node['message']}"
        except (Exception, AirflowTaskTimeout) as error:
            # The verdict matters more than the results.
            self.log.warning("Could not read the results of dbt Cloud run %s: %s", self.run_id, error)
        return event, failed

    def _publish_results(self, context: Context, run: JobRun) -> dict[str, Any] | None:
        """Log and push the results of the nodes; return the first failed one."""
        failed = None
        try:
            results = read_run_results(self.hook, run)
            failed = first_failed(results)
        finally:
            if run.outcome != "success" and not failed:
                # It failed outside of any node, or its nodes cannot be read: dbt's log says why.
                facts = {"status": run.status, "status_message": run.status_message, "run_steps": run.steps}
                self.hook.log_job_run_failure_details(run.id, job_run=facts)
        self.log.info("dbt Cloud run %s: %s", run.id, format_results(results))
        context["ti"].xcom_push(key="run_results", value=results)
        for outlet in self.outlets if run.outcome == "success" else ():
            if isinstance(outlet, Asset):
                context["outlet_events"][outlet].extra = results
            elif outlet == MODELS:
                for asset, extra in built_models(results, self.model_assets):
                    context["outlet_events"][outlet].add(asset, extra)
            elif self.mapped_outlet and isinstance(outlet, AssetAlias):
                context["outlet_events"][outlet].add(self.mapped_outlet, results)
        return failed

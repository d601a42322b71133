"""Run a dbt Cloud job exactly once per task instance and report its real outcome."""

import asyncio
import time
from collections.abc import Sequence
from copy import copy
from functools import cached_property
from threading import Event, Thread
from typing import Any, NoReturn

from airflow.providers.dbt.cloud.hooks.dbt import DbtCloudJobRunException
from airflow.providers.dbt.cloud.operators.dbt import DbtCloudRunJobOperator as ProviderOperator
from airflow.providers.dbt.cloud.utils.openlineage import inject_parent_job_information_into_dbt_cloud_cause
from airflow.sdk import Asset, AssetAlias, Context
from airflow.sdk.exceptions import AirflowTaskTimeout

from include.dbt_cloud.checkpoint import Checkpoint, Submission
from include.dbt_cloud.exceptions import (
    RUN_ERRORS,
    DbtCloudJobRunRejected,
    DbtCloudJobRunUnreachable,
    parse_id,
)
from include.dbt_cloud.hook import DbtCloudHook
from include.dbt_cloud.job_run import JobRun
from include.dbt_cloud.lineage import executed_steps
from include.dbt_cloud.model_assets import MODELS, built_models, unknown_models
from include.dbt_cloud.results import (
    describe_run,
    first_failed,
    format_results,
    limit_nodes,
    read_run_results,
)
from include.dbt_cloud.run_canceler import RunCanceler
from include.dbt_cloud.run_records import save_run_record
from include.dbt_cloud.run_tags import deployment_id, digest, instance_tag, run_tag, tagged_cause
from include.dbt_cloud.submitter import JobRunSubmitter
from include.dbt_cloud.task_state import ENDED, TAKEN_OVER, task_state
from include.dbt_cloud.trigger import DbtCloudRunJobTrigger, is_event_of

# Seconds to wait for the task's state in a signal handler: Airflow kills the process after five.
STATE_TIMEOUT = 2


class DbtCloudRunJobOperator(ProviderOperator):
    """Execute a dbt Cloud job: the provider's operator, with the same arguments and the following.

    A retry reattaches to the run of the previous try: it waits for the run if it is active, and succeeds if
    the run succeeded. Otherwise it starts a new run, or continues the failed one with
    ``retry_from_failure``. A clear cancels the earlier run if it is still active, and starts a new one. With
    ``reuse_existing_run`` the task joins an active run that was started elsewhere, and never cancels it.

    The cause of the run names the Dag, its run, the task and the try, and ends in a tag by which later tries
    find the run. The tag contains an ID of the Airflow deployment, kept in the Airflow variable
    ``dbt_cloud_deployment_id``.

    .. code-block:: python

        DbtCloudRunJobOperator(task_id="run_dbt", dbt_cloud_conn_id="dbt_conn", job_id=101, deferrable=True)

    :param check_interval: Seconds between two polls. One poll covers all waiting tasks. Default: 2.
    :param outage_tolerance: Seconds for which dbt Cloud may be unreachable, or not know the run, before the
        task fails. Default: 1800.
    :param durable: Whether a retry reattaches to the run of the try before it. Without it, a clear does not
        cancel the run of an earlier try either. Default: True.
    :param cancel_on_kill: Whether to cancel the run when a user marks the running or deferred task failed
        or successful, or clears it. A stalled or restarted Airflow never cancels it. Default: True.
    :param model_assets: Names of models, or patterns such as ``stg_*``, that become assets: a successful run
        adds an event for each one that it built. ``model_asset`` returns such an asset. A mapped task needs
        ``MODELS`` among its outlets. A failed task updates no asset: that is Airflow's rule. Default: none.
    :param mapped_outlet: Asset that this instance of a mapped task updates through an ``AssetAlias`` among
        its outlets, which are the same for all instances.
    :raises DbtCloudJobRunFailed: dbt failed.
    :raises DbtCloudJobRunRejected: dbt did not accept a command line of the job; not retried.
    :raises DbtCloudJobRunCancelled: A user canceled the run; not retried.
    :raises DbtCloudJobRunTimedOut: ``timeout`` passed, or ``execution_timeout``, which cancels the run.
    :raises DbtCloudJobRunUnreachable: The outage tolerance was exceeded; the run may still be active.
    """

    def __init__(
        self,
        *,
        check_interval: int = 2,
        outage_tolerance: float = 1800,
        durable: bool = True,
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
        self.durable = durable
        self.cancel_on_kill = cancel_on_kill
        self._canceler: RunCanceler | None = None
        self._ti: Any = None

    @cached_property
    def hook(self) -> DbtCloudHook:
        """The hook, created with ``hook_params``."""
        return DbtCloudHook(self.dbt_cloud_conn_id, **self.hook_params)

    def execute(self, context: Context) -> int:
        """Submit a run or reattach to one, and wait for it; in the triggerer if ``deferrable``."""
        ti = self._ti = context["ti"]
        submitter = self._canceler = self._create_submitter(context)
        try:
            earlier = submitter.reattach() if self.durable and ti.try_number > 1 else None
            run = earlier or submitter.submit_or_join()
            self.log.info("dbt Cloud run %s: %s", run.id, run.href)
            self._push(ti, "job_run_url", run.href)
            self._push(ti, "job_run_id", run.id)
            record = describe_run(run) | {"try_number": ti.try_number}
            save_run_record(context["task_state_store"], record)
            self.run_id = run.id
            # The first on_kill may have canceled the run of an earlier try, but not this one.
            if submitter.kill_pending and submitter.checkpoint.canceled_run != run.id:
                self.on_kill()
            if not self.wait_for_termination:
                submitter.checkpoint.save_reported_run(run.id)
                return run.id
            limit = self.execution_timeout
            waiting_for = {
                "run_id": run.id,
                "account_id": self.account_id,
                "owned": submitter.owned_run is not None,
                "try_number": ti.try_number,
                "end_time": time.time() + self.timeout,
                "execution_deadline": time.time() + limit.total_seconds() if limit else None,
            }
            if self.deferrable and run.outcome is None:
                self._defer(waiting_for)
            trigger = self._create_trigger(waiting_for)
        except AirflowTaskTimeout:
            if run_id := submitter.find_owned_run():
                self._cancel_timed_out(ti, run_id, submitter)
            # Airflow calls on_kill after a timeout too.
            self._canceler = None
            raise
        try:
            event = asyncio.run(trigger.wait())
        except AirflowTaskTimeout:
            event = trigger.event("timeout")
        return self.execute_complete(context, event.payload)

    def execute_complete(
        self,
        context: Context,
        event: dict[str, Any] | None = None,
        waiting_for: dict[str, Any] | None = None,
    ) -> int:
        """Log and push the results of the run; return its ID if it succeeded, else raise its outcome.

        :param waiting_for: What the task told its trigger; the event of another trigger is ignored.
        """
        if waiting_for and not is_event_of(waiting_for["run_id"], event):
            self.log.warning("Ignoring an event that is not about dbt Cloud run %s.", waiting_for["run_id"])
            self._defer(waiting_for)
        if event is None or event.get("status") not in {"success", *RUN_ERRORS}:
            raise DbtCloudJobRunUnreachable(f"Unexpected trigger event: {event!r}. A retry reattaches.")
        if event.get("try_number") not in (None, context["ti"].try_number):
            # A task that was cleared while it resumed gets the event of the previous try.
            return self.execute(context)
        # Events of the provider's trigger have no "owned": it only waits for runs that the task started.
        self.run_id, owned = event["run_id"], event.get("owned", True)
        if self._canceler is None:
            # The task deferred: this is another process.
            self._ti, checkpoint = context["ti"], self._create_checkpoint(context)
            self._canceler = RunCanceler(
                self.hook, self.account_id, checkpoint, self.log, owned_run=self.run_id if owned else None
            )
        canceler, checkpoint = self._canceler, self._canceler.checkpoint
        times_out = event["status"] == "timeout" and owned
        canceled = times_out and self._cancel_timed_out(context["ti"], self.run_id, canceler)
        run = self._read_run(event)
        canceler.has_ended = bool(run and run.outcome)
        status, message = event["status"], event["message"]
        # Its outcome counts: it may have ended after the event, or while it could not be polled.
        if run and run.outcome and status != "success" and not (run.outcome == "cancelled" and canceled):
            status, message = run.outcome, run.summary
        failure = self._publish_results(context, run) if run and run.outcome else ""
        if status == "success":
            self.log.info(message)
            checkpoint.save_reported_run(self.run_id)
            return self.run_id
        if status == "cancelled" and not owned:
            raise DbtCloudJobRunException(f"{message} It was started elsewhere; a retry starts another run.")
        if status == "cancelled" and checkpoint.is_canceled_by_task(self.run_id):
            raise DbtCloudJobRunException(f"{message} The task canceled it.")
        if status == "cancelled":
            checkpoint.save_reported_run(self.run_id)
            message += " Clear the task to run it again."
        if times_out and status == "timeout" and not canceled:
            message += " It could not be canceled: cancel it in dbt Cloud."
        if status == "error" and run and run.rejection and not failure:
            raise DbtCloudJobRunRejected(f"{run.rejection.rstrip('.')}. {message}")
        raise RUN_ERRORS[status](f"{failure}{message}")

    def on_kill(self) -> None:
        """Cancel the run of a task that is running on a worker, if a user ended the task.

        Airflow also kills a task when its worker shuts down, or when it stalled and another try took over.
        The run then continues, and the other try waits for it.
        """
        if not (self._canceler and self.cancel_on_kill):
            return
        self._canceler.kill_pending, answered = True, Event()
        # In a thread: the signal may have interrupted a request to Airflow that holds a lock.
        canceling = Thread(target=self._cancel_if_ended, args=[self._canceler, answered], daemon=True)
        canceling.start()
        # If there is no answer in time, return: the thread continues once the interrupted request ends.
        if answered.wait(STATE_TIMEOUT):
            canceling.join()

    def _cancel_if_ended(self, canceler: RunCanceler, answered: Event) -> None:
        try:
            state = task_state(self._ti)
        except Exception as error:
            self.log.warning("Could not ask Airflow for the state of the task: %s", error)
            return
        finally:
            answered.set()
        if state not in ENDED | {"restarting"}:
            canceler.kill_pending = False
            self.log.info("Not canceling the dbt Cloud run: the task's state is %s.", state)
            return
        # With a separate hook, because the submission may still be in progress.
        canceler = copy(canceler)
        canceler.hook = copy(canceler.hook)
        # If no run is known yet, execute calls on_kill again after the submission.
        canceler.cancel_owned_run()

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """Emit OpenLineage events for the models that the run built, also with ``steps_override``."""
        with executed_steps(self.hook):
            return super().get_openlineage_facets_on_complete(task_instance)

    def _create_submitter(self, context: Context) -> JobRunSubmitter:
        # Resolved here: an error in the triggerer would fail the task without the reason.
        self.account_id = parse_id(self.account_id or self.hook.account_id, "account")
        if self.job_id is None:
            if not (self.project_name and self.environment_name and self.job_name):
                raise ValueError("Set job_id, or all of project_name, environment_name and job_name.")
            by_name = {name: getattr(self, name) for name in ("project_name", "environment_name", "job_name")}
            self.job_id = self.hook.get_job_by_name(**by_name, account_id=self.account_id)["id"]
        self.job_id = parse_id(self.job_id, "job")
        ti, deployment = context["ti"], deployment_id()
        reason = self.additional_run_config.get("cause") or self.trigger_reason
        if self.openlineage_inject_parent_job_info:
            reason = inject_parent_job_information_into_dbt_cloud_cause(reason, ti)
        tag = run_tag(ti, deployment)
        overrides = {
            "steps_override": self.steps_override,
            "schema_override": self.schema_override,
            "additional_run_config": {k: v for k, v in self.additional_run_config.items() if k != "cause"},
        }
        submission = Submission(
            tag, self.job_id, digest(overrides), max_tries=ti.max_tries, retries=self.retries or 0,
            clear_number=context["dag_run"].clear_number or 0,
        )  # fmt: skip
        return JobRunSubmitter(
            hook=self.hook,
            account_id=self.account_id,
            this_try=submission,
            instance_tag=instance_tag(ti, deployment),
            cause=tagged_cause(ti, tag, reason or "Triggered by Airflow"),
            checkpoint=self._create_checkpoint(context),
            log=self.log,
            overrides=overrides,
            reuse_existing_run=self.reuse_existing_run,
            retry_from_failure=self.retry_from_failure,
            poll_interval=self.check_interval,
            outage_tolerance=self.outage_tolerance,
        )

    def _defer(self, waiting_for: dict[str, Any]) -> NoReturn:
        trigger, kwargs = self._create_trigger(waiting_for), {"waiting_for": waiting_for}
        self.defer(trigger=trigger, method_name="execute_complete", kwargs=kwargs)

    def _create_trigger(self, waiting_for: dict[str, Any]) -> DbtCloudRunJobTrigger:
        return DbtCloudRunJobTrigger(
            conn_id=self.dbt_cloud_conn_id,
            poll_interval=self.check_interval,
            hook_params=self.hook_params,
            outage_tolerance=self.outage_tolerance,
            cancel_on_kill=self.cancel_on_kill,
            **waiting_for,
        )

    def _create_checkpoint(self, context: Context) -> Checkpoint:
        return Checkpoint(context["task_state_store"] if self.durable else None, self.log)

    def _cancel_timed_out(self, ti: Any, run_id: int, canceler: RunCanceler) -> bool:
        """Cancel the run of a task that exceeded its time limit; return whether it has ended."""
        try:
            if task_state(ti) in TAKEN_OVER:
                self.log.info("Not canceling the dbt Cloud run: the worker stalled and another try runs.")
                return False
        except (Exception, AirflowTaskTimeout) as error:
            self.log.warning("Could not ask Airflow for the state of the task: %s", error)
        return canceler.cancel(run_id)

    def _push(self, ti: Any, key: str, value: Any) -> None:
        try:
            ti.xcom_push(key=key, value=value)
        except Exception as error:
            # The task must not fail while its run is healthy.
            self.log.warning("Could not push the XCom %s: %s", key, error)

    def _read_run(self, event: dict[str, Any]) -> JobRun | None:
        related = ["run_steps", "trigger", "job", "environment"]
        try:
            return self.hook.get_run(event["run_id"], self.account_id or None, related)
        except (Exception, AirflowTaskTimeout) as error:
            self.log.warning("Could not read dbt Cloud run %s: %s", self.run_id, error)
            return None

    def _publish_results(self, context: Context, run: JobRun) -> str:
        """Log and push the results of the nodes; return a sentence about the first failed one."""
        failed = None
        try:
            try:
                results = read_run_results(self.hook, run) | {"try_number": context["ti"].try_number}
                failed = first_failed(results)
            finally:
                if run.outcome != "success" and not failed:
                    # The run failed outside of any node, or its nodes cannot be read: dbt's log says why.
                    facts = {"status": run.status, "status_message": run.status_message}
                    self.hook.log_job_run_failure_details(run.id, job_run=facts | {"run_steps": run.steps})
            self.log.info("dbt Cloud run %s: %s", run.id, format_results(results))
            self._push(context["ti"], "run_results", results)
            compact = limit_nodes(results)
            save_run_record(context["task_state_store"], compact)
            if run.outcome == "success":
                # With all results: limit_nodes drops successful models first.
                self._update_assets(context, results, compact)
        except (Exception, AirflowTaskTimeout) as error:
            # The outcome matters more than the results.
            self.log.warning("Could not read the results of dbt Cloud run %s: %s", run.id, error)
        return f"{failed['unique_id']}: {failed['message']} " if failed else ""

    def _update_assets(self, context: Context, results: dict[str, Any], compact: dict[str, Any]) -> None:
        for outlet in self.outlets:
            if isinstance(outlet, Asset):
                context["outlet_events"][outlet].extra = compact
            elif outlet == MODELS:
                for asset, extra in built_models(results, self.model_assets):
                    context["outlet_events"][outlet].add(asset, extra)
                if unknown := unknown_models(results, self.model_assets):
                    self.log.warning(
                        "No model of the run matches these model_assets: %s.", ", ".join(unknown)
                    )
            elif self.mapped_outlet and isinstance(outlet, AssetAlias):
                context["outlet_events"][outlet].add(self.mapped_outlet, compact)

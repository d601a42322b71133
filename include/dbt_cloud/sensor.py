"""Waits for a run that another task started: the provider's sensor, as patient as the operator."""

from functools import cached_property
from typing import Any

from airflow.providers.dbt.cloud.sensors.dbt import DbtCloudJobRunSensor as ProviderSensor
from airflow.sdk import Context

from include.dbt_cloud.errors import RUN_ERRORS, DbtCloudJobRunNotSucceeded, DbtCloudRequestError, number
from include.dbt_cloud.hook import DbtCloudHook
from include.dbt_cloud.trigger import DbtCloudRunJobTrigger, end_of, outcome_of


class DbtCloudJobRunSensor(ProviderSensor):
    """Check the status of a dbt Cloud job run: the provider's sensor, with the same arguments.

    Deferred, it shares one request a round with all tasks that wait. It never cancels the run, which is not
    its own.

    :raises DbtCloudJobRunNotSucceeded: The run ended badly; the task is not retried.
    :raises DbtCloudJobRunTimedOut: ``timeout`` or ``execution_timeout`` passed.
    :raises DbtCloudJobRunLost: The run was out of sight for too long, and may go on.
    """

    @cached_property
    def hook(self) -> DbtCloudHook:
        """The hook, made from ``hook_params``."""
        return DbtCloudHook(self.dbt_cloud_conn_id, **self.hook_params)

    def poke(self, context: Context) -> bool:
        """Return whether the run has succeeded; raise if it ended otherwise or will not be seen."""
        try:
            answer = self.hook.get_job_run(number(self.run_id, "run"), self.account_id)
            run = self.hook.runs_in(answer)[0]
        except DbtCloudRequestError as error:
            # dbt Cloud does not know a run that has just been started, at first.
            if not error.may_pass and error.status_code != 404:
                raise
            self.log.warning("The status of run %s is not known: %s", self.run_id, error)
            return False
        if outcome_of(run) in ("error", "cancelled", "expired"):
            raise DbtCloudJobRunNotSucceeded(end_of(run))
        return outcome_of(run) == "success"

    def defer(self, *, trigger: Any, **kwargs: Any) -> None:
        """Defer to our trigger instead of the provider's, which has the same arguments."""
        _, arguments = trigger.serialize()
        # Templates render numbers as text; and here an error has a log, which it has not in the triggerer.
        arguments["run_id"] = number(self.run_id, "run")
        arguments["account_id"] = number(self.account_id or self.hook._resolve_account_id(), "account")
        super().defer(trigger=DbtCloudRunJobTrigger(**arguments, cancel_on_kill=False), **kwargs)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> int:
        """Return the id of a run that succeeded, or raise what became of it."""
        if event and event.get("status") in ("error", "cancelled", "expired"):
            raise DbtCloudJobRunNotSucceeded(event["message"])
        if event and event.get("status") in RUN_ERRORS:
            raise RUN_ERRORS[event["status"]](event["message"])
        return super().execute_complete(context, event)

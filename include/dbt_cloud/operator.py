"""Runs a dbt Cloud job: the provider's operator, with a patient wait and an error class for each bad end."""

from functools import cached_property
from typing import Any

from airflow.providers.dbt.cloud.hooks.dbt import DbtCloudJobRunStatus
from airflow.providers.dbt.cloud.operators.dbt import DbtCloudRunJobOperator as ProviderOperator
from airflow.sdk import Context

from include.dbt_cloud.errors import (
    DbtCloudJobRunCancelled,
    DbtCloudJobRunFailed,
    DbtCloudJobRunLost,
    DbtCloudJobRunTimedOut,
    DbtCloudNoAnswer,
    DbtCloudRefused,
)
from include.dbt_cloud.hook import DbtCloudHook
from include.dbt_cloud.trigger import OUTCOMES, DbtCloudRunJobTrigger

ERRORS = {
    "error": DbtCloudJobRunFailed,
    "cancelled": DbtCloudJobRunCancelled,
    "timeout": DbtCloudJobRunTimedOut,
    "waited": DbtCloudJobRunTimedOut,
    "lost": DbtCloudJobRunLost,
}


class DbtCloudRunJobOperator(ProviderOperator):
    """Execute a dbt Cloud job: the provider's operator, with the same arguments and one more.

    :param check_interval: Seconds between two requests; each asks after all runs that tasks wait for.
    :param patience: For how many seconds a deferred task waits for a run that is out of sight.
    :raises DbtCloudJobRunFailed: dbt failed.
    :raises DbtCloudJobRunCancelled: Somebody cancelled the run; the task is not retried.
    :raises DbtCloudJobRunTimedOut: ``timeout`` passed, or ``execution_timeout``: then the run is cancelled.
    :raises DbtCloudJobRunLost: The run was out of sight for too long, and may go on.
    """

    def __init__(self, *, check_interval: int = 5, patience: float = 1800, **kwargs: Any) -> None:
        super().__init__(check_interval=check_interval, **kwargs)
        self.patience = patience

    @cached_property
    def hook(self) -> DbtCloudHook:
        """The hook, made from ``hook_params``."""
        return _PatientHook(self.dbt_cloud_conn_id, **self.hook_params)

    def defer(self, *, trigger: Any, **kwargs: Any) -> None:
        """Defer to our trigger instead of the provider's, which has the same arguments."""
        _, arguments = trigger.serialize()
        # Read here: what goes wrong with a connection in the triggerer ends the task without a reason.
        arguments["account_id"] = int(self.account_id or self.hook._resolve_account_id())
        super().defer(trigger=DbtCloudRunJobTrigger(**arguments, patience=self.patience), **kwargs)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> int:
        """Return the id of a run that succeeded, or raise what became of it."""
        if event is None or event.get("status") not in {"success", *ERRORS}:
            raise DbtCloudJobRunLost(f"The trigger said nothing that makes sense: {event!r}.")
        self.run_id = event["run_id"]
        if event["status"] == "success":
            self.log.info(event["message"])
            return self.run_id
        try:
            if event["status"] == "timeout":
                self.hook.cancel_job_run(self.run_id, self.account_id)
            if event["status"] == "error":
                self.hook.log_job_run_failure_details(self.run_id, self.account_id)
        except Exception as error:
            # What became of the run matters more.
            self.log.warning("%s", error)
        raise ERRORS[event["status"]](event["message"])

    def on_kill(self) -> None:
        """Cancel the run of a task that is killed while it holds a worker."""
        if self.run_id:
            try:
                self.hook.cancel_job_run(self.run_id, self.account_id)
                self.log.info("Cancelled run %s of dbt Cloud.", self.run_id)
            except Exception as error:
                self.log.warning("Run %s of dbt Cloud could not be cancelled: %s", self.run_id, error)

    def _handle_terminal_status(self, status: int) -> int | None:
        # The run had ended before there was anything to wait for.
        event = {"run_id": self.run_id, "status": OUTCOMES[status]}
        return self.execute_complete({}, event | {"message": f"Run {self.run_id} of dbt Cloud has ended."})


class _PatientHook(DbtCloudHook):
    def get_job_run_status(self, run_id: int, account_id: int | None = None) -> int:
        # Just after its POST a run may not be known yet, an answer may fail at any time, and the provider
        # raises ValueError for a status that it does not know: who waits asks again, as if the run went on.
        try:
            return super().get_job_run_status(run_id, account_id)
        except (DbtCloudRefused, DbtCloudNoAnswer, ValueError) as error:
            self.log.warning("The status of run %s is not known: %s", run_id, error)
            return DbtCloudJobRunStatus.RUNNING.value

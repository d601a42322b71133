"""Wait for a dbt Cloud run that another task started."""

from functools import cached_property
from typing import Any, NoReturn

from airflow.providers.dbt.cloud.sensors.dbt import DbtCloudJobRunSensor as ProviderSensor
from airflow.sdk import Context
from airflow.triggers.base import BaseTrigger

from include.dbt_cloud.exceptions import (
    RUN_ERRORS,
    DbtCloudJobRunNotSucceeded,
    DbtCloudRequestError,
    parse_id,
)
from include.dbt_cloud.hook import DbtCloudHook
from include.dbt_cloud.trigger import DbtCloudRunJobTrigger, is_event_of

FAILURES = ("error", "cancelled", "expired")


class DbtCloudJobRunSensor(ProviderSensor):
    """Wait for a dbt Cloud job run: the provider's sensor, with the same arguments.

    In deferrable mode, it shares one request per poll with all waiting tasks. It never cancels the run.

    .. code-block:: python

        DbtCloudJobRunSensor(task_id="wait", dbt_cloud_conn_id="dbt_conn", run_id=run.output, deferrable=True)

    :raises DbtCloudJobRunNotSucceeded: The run did not succeed; not retried.
    :raises DbtCloudJobRunTimedOut: ``timeout`` or ``execution_timeout`` passed.
    :raises DbtCloudJobRunUnreachable: While deferred: dbt Cloud was unreachable for 30 minutes; the run may
        still be active.
    """

    @cached_property
    def hook(self) -> DbtCloudHook:
        """The hook, created with ``hook_params``."""
        return DbtCloudHook(self.dbt_cloud_conn_id, **self.hook_params)

    def poke(self, context: Context) -> bool:
        """Return whether the run has succeeded; raise if it ended otherwise."""
        try:
            run = self.hook.get_run(parse_id(self.run_id, "run"), self.account_id)
        except DbtCloudRequestError as error:
            # dbt Cloud may not know a run that was just started.
            if not error.retryable and getattr(error, "status_code", None) != 404:
                raise
            self.log.warning("Could not get dbt Cloud run %s: %s", self.run_id, error)
            return False
        if run.outcome in FAILURES:
            raise DbtCloudJobRunNotSucceeded(run.summary)
        return run.outcome == "success"

    def defer(self, *, trigger: BaseTrigger, method_name: str, **kwargs: Any) -> NoReturn:
        """Defer to this package's trigger instead of the provider's."""
        # Templates render numbers as text. Resolved here: in the triggerer an error would lose its message.
        waiting_for = {
            "run_id": parse_id(self.run_id, "run"),
            "account_id": parse_id(self.account_id or self.hook.account_id, "account"),
            "end_time": trigger.serialize()[1]["end_time"],
        }
        self._defer(waiting_for, **kwargs)

    def _defer(self, waiting_for: dict[str, Any], **kwargs: Any) -> NoReturn:
        trigger = DbtCloudRunJobTrigger(
            conn_id=self.dbt_cloud_conn_id,
            poll_interval=self.poke_interval,
            hook_params=self.hook_params,
            owned=False,
            **waiting_for,
        )
        kwargs |= {"trigger": trigger, "kwargs": {"waiting_for": waiting_for}}
        super().defer(method_name="execute_complete", **kwargs)

    def execute_complete(
        self,
        context: Context,
        event: dict[str, Any] | None = None,
        waiting_for: dict[str, Any] | None = None,
    ) -> int:
        """Return the ID of a run that succeeded, or raise its outcome.

        :param waiting_for: What the sensor told its trigger; the event of another trigger is ignored.
        """
        if waiting_for and not is_event_of(waiting_for["run_id"], event):
            self.log.warning("Ignoring an event that is not about dbt Cloud run %s.", waiting_for["run_id"])
            self._defer(waiting_for, timeout=self.execution_timeout)
        status = event["status"] if event and event.get("status") in RUN_ERRORS else None
        if event and status:
            if status in FAILURES:
                raise DbtCloudJobRunNotSucceeded(event["message"])
            # The upstream task may have been cleared meanwhile, and its XCom with the ID is gone.
            self.run_id = event["run_id"]
            # The run may have ended while no triggerer could poll it.
            if not self.poke(context):
                raise RUN_ERRORS[status](event["message"])
            return int(event["run_id"])
        return super().execute_complete(context, event)

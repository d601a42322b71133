"""Wait in the triggerer for the end of a dbt Cloud run."""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.providers.dbt.cloud.triggers.dbt import DbtCloudRunJobTrigger as ProviderTrigger
from airflow.triggers.base import TriggerEvent

from include.dbt_cloud.hook import DbtCloudHook
from include.dbt_cloud.job_run import JobRun
from include.dbt_cloud.poller import RunPoller


def message_of(event: dict[str, Any], *details: str) -> str:
    """Return the message of an event, details and the link to the run."""
    link = f"See {event['href']}" if event.get("href") else ""
    return " ".join(filter(None, [event["message"], *details, link]))


class DbtCloudRunJobTrigger(ProviderTrigger):
    """Wait for the end of a run: the provider's trigger, with the same arguments and the following.

    The event's ``status`` is the run's outcome, or ``timeout`` (``execution_deadline`` passed),
    ``wait_timeout`` (``end_time`` passed) or ``unreachable``; ``message`` is a sentence, ``owned`` as
    below.

    :param outage_tolerance: Seconds for which dbt Cloud may not answer, answer with errors, or not know the
        run. At least three polls. Default: 1800.
    :param cancel_on_kill: Whether to cancel the run when somebody marks the deferred task failed or
        successful, or clears it. Default: True.
    :param owned: Whether the task started the run; a run of somebody else is never canceled. Default: True.
    """

    def __init__(
        self,
        *args: Any,
        outage_tolerance: float = 1800,
        cancel_on_kill: bool = True,
        owned: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.outage_tolerance = outage_tolerance
        self.cancel_on_kill = cancel_on_kill
        self.owned = owned

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, from which the triggerer creates this trigger."""
        names = ("outage_tolerance", "cancel_on_kill", "owned")
        arguments = super().serialize()[1] | {name: getattr(self, name) for name in names}
        return f"{type(self).__module__}.{type(self).__qualname__}", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event, when the run has ended or a time limit has passed."""
        yield await self.wait()

    async def wait(self) -> TriggerEvent:
        """Return the event that ``run`` yields."""
        hook = DbtCloudHook(self.conn_id, **self.hook_params)
        account_id = self.account_id or await self._load_account_id(hook)
        outage_tolerance = max(self.outage_tolerance, 3 * self.poll_interval)
        async with RunPoller.subscribe(hook, account_id, self.run_id, self.poll_interval) as subscription:
            while not subscription.ended.is_set():
                now = time.time()
                due, status = min(
                    (self.execution_deadline or math.inf, "timeout"),
                    (self.end_time, "wait_timeout"),
                    # Monotonic: a suspended machine is not an outage.
                    (now + outage_tolerance - (time.monotonic() - subscription.updated_at), "unreachable"),
                )
                if now >= due:
                    return self.event(status, subscription.run, subscription.last_error)
                try:
                    await asyncio.wait_for(subscription.ended.wait(), due - now)
                except TimeoutError:
                    continue
        run = subscription.run
        assert run is not None
        assert run.outcome is not None
        return self.event(run.outcome, run)

    def event(self, status: str, run: JobRun | None = None, last_error: str = "") -> TriggerEvent:
        """Return an event; its message says what is known of the run."""
        last = f"last status: {run.status_humanized if run else 'unknown'}"
        last += f"; last error: {last_error}" if last_error else ""
        name = f"dbt Cloud run {self.run_id}"
        message = {
            "timeout": f"{name} exceeded the task's execution_timeout ({last}).",
            "wait_timeout": f"{name} exceeded the task's timeout ({last}). It may still be active.",
            "unreachable": f"Lost contact with {name} ({last}). It may still be active; a retry reattaches.",
        }.get(status, run.summary if run else "")
        facts = {"status": status, "run_id": self.run_id, "owned": self.owned}
        return TriggerEvent(facts | {"message": message, "href": run.href if run else ""})

    async def on_kill(self) -> None:
        """Cancel the run: somebody marked the deferred task failed or successful, or cleared it."""
        if not (self.cancel_on_kill and self.owned):
            return
        hook = DbtCloudHook(self.conn_id, **self.hook_params)
        # Read here: a thread of the triggerer cannot read a connection.
        await hook.load_connection()
        # In a thread: Airflow 3.3 cancels this coroutine again after a second, but no thread.
        await asyncio.to_thread(hook.cancel_job_run, self.run_id, self.account_id or hook.account_id)
        self.log.info("Canceled dbt Cloud run %s.", self.run_id)

    @staticmethod
    async def _load_account_id(hook: DbtCloudHook) -> int:
        await hook.load_connection()
        return hook.account_id

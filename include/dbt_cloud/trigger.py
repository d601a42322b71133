"""Waits in the triggerer for the end of a dbt Cloud run, with the patience that a long run deserves."""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.providers.dbt.cloud.triggers.dbt import DbtCloudRunJobTrigger as ProviderTrigger
from airflow.triggers.base import TriggerEvent

from include.dbt_cloud.hook import DbtCloudHook
from include.dbt_cloud.watcher import RunWatcher


def outcome_of(run: dict[str, Any]) -> str | None:
    """Return success, error, cancelled or expired (the time limit of its job); None for an active run."""
    # For dbt Cloud a run that took too long is one that was cancelled.
    expired = (run["status_message"] or "").startswith("This run timed out")
    return {10: "success", 20: "error", 30: "expired" if expired else "cancelled"}.get(run["status"])


def end_of(run: dict[str, Any]) -> str:
    """Return a sentence about a run that has ended."""
    reason = f" {run['status_message']}" if run["status_message"] else ""
    return f"Run {run['id']} of dbt Cloud ended: {run['status_humanized']}.{reason} See it at {run['href']}"


class DbtCloudRunJobTrigger(ProviderTrigger):
    """Wait for the end of a run: the provider's trigger, with the same arguments and two more.

    :param patience: For how many seconds the run may be out of sight: because dbt Cloud does not answer,
        answers with errors, or does not know the run.
    :param cancel_on_kill: Whether to cancel the run when somebody marks the waiting task failed or
        successful, or clears it.

    The event's ``status`` is what ``outcome_of`` the run gives, or timeout (``execution_deadline`` passed),
    waited (``end_time`` passed) or lost; its ``message`` is a sentence.
    """

    def __init__(
        self, *args: Any, patience: float = 1800, cancel_on_kill: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.patience = patience
        self.cancel_on_kill = cancel_on_kill

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what another process needs to make this trigger."""
        ours = {"patience": self.patience, "cancel_on_kill": self.cancel_on_kill}
        return f"{type(self).__module__}.{type(self).__qualname__}", super().serialize()[1] | ours

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Watch the run until it ends, its time is up, or it is out of sight for too long."""
        yield await self.wait()

    async def wait(self) -> TriggerEvent:
        """Return the event that ``run`` yields."""
        hook = DbtCloudHook(self.conn_id, **self.hook_params)
        account_id = self.account_id or await hook._resolve_account_id_async()
        # Not shorter than it takes to look a few times.
        patience = max(self.patience, 3 * self.poll_interval)
        async with RunWatcher.watching(hook, account_id, self.run_id, self.poll_interval) as sight:
            while not sight.ended.is_set():
                now = time.time()
                due, status = min(
                    (self.execution_deadline or math.inf, "timeout"),
                    (self.end_time, "waited"),
                    # Not by the clock: a laptop that slept has not looked in vain.
                    (now + patience - (time.monotonic() - sight.seen_at), "lost"),
                )
                if now >= due:
                    return self.event(status, sight.run, sight.trouble)
                try:
                    await asyncio.wait_for(sight.ended.wait(), due - now)
                except TimeoutError:
                    continue
        return self.event(outcome_of(sight.run), sight.run)

    def event(self, status: str, run: dict[str, Any] | None = None, trouble: str = "") -> TriggerEvent:
        """Return an event, whose message says what was last seen of the run."""
        state = f"it was {run['status_humanized'].lower()}" if run else "it was never seen"
        where = f" See it at {run['href']}" if run else ""
        why = f": {trouble}" if trouble else ""
        name = f"{self.run_id} of dbt Cloud"
        messages = {
            "timeout": f"Run {name} took longer than the task's execution_timeout.{where}",
            "waited": f"Run {name} took longer than the task's timeout, and may go on: {state}.{where}",
            "lost": f"Sight of run {name} was lost when {state}{why}. It may go on.{where}",
        }
        message = messages.get(status) or end_of(run)
        facts = {"status": status, "run_id": self.run_id, "cancel": self.cancel_on_kill}
        return TriggerEvent(facts | {"message": message})

    async def on_kill(self) -> None:
        """Cancel the run: somebody marked the waiting task failed or successful, or cleared it."""
        if not self.cancel_on_kill:
            return
        hook = DbtCloudHook(self.conn_id, **self.hook_params)
        # Here, for a thread cannot read a connection in the triggerer.
        account_id = self.account_id or await hook._resolve_account_id_async()
        await hook._resolve_connection_async()
        # In a thread: Airflow 3.3 cancels this coroutine again after a second, but no thread.
        await asyncio.to_thread(hook.cancel_job_run, self.run_id, account_id)
        self.log.info("Cancelled run %s of dbt Cloud.", self.run_id)

"""Waits in the triggerer for the end of a dbt Cloud run, with the patience that a long run deserves."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from airflow.providers.dbt.cloud.triggers.dbt import DbtCloudRunJobTrigger as ProviderTrigger
from airflow.triggers.base import TriggerEvent

from include.dbt_cloud.hook import DbtCloudHook
from include.dbt_cloud.watcher import RunWatcher, Sight

OUTCOMES = {10: "success", 20: "error", 30: "cancelled"}
# Airflow gives on_kill 30 seconds.
SECONDS_TO_CANCEL = 25


class DbtCloudRunJobTrigger(ProviderTrigger):
    """Wait for the end of a run: the provider's trigger, with the same arguments and one more.

    :param patience: For how many seconds the run may be out of sight: because dbt Cloud does not answer,
        answers with errors, or does not know the run.

    The event's ``status`` is success, error, cancelled, timeout (``execution_deadline`` passed), waited
    (``end_time`` passed) or lost; its ``message`` is a sentence.
    """

    def __init__(self, *args: Any, patience: float = 1800, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.patience = patience

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what another process needs to make this trigger."""
        _, arguments = super().serialize()
        return f"{type(self).__module__}.{type(self).__qualname__}", arguments | {"patience": self.patience}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Watch the run until it ends, its time is up, or it is out of sight for too long."""
        hook = DbtCloudHook(self.conn_id, **self.hook_params)
        account_id = self.account_id or await hook._resolve_account_id_async()
        async with RunWatcher.watching(hook, account_id, self.run_id, self.poll_interval) as sight:
            while (outcome := self._outcome(sight)) is None:
                try:
                    await asyncio.wait_for(sight.ended.wait(), self._seconds_left(sight))
                except TimeoutError:
                    continue
        status, message = outcome
        yield TriggerEvent({"status": status, "message": message, "run_id": self.run_id})

    async def on_kill(self) -> None:
        """Cancel the run: somebody marked the waiting task failed or successful, or cleared it."""
        hook = DbtCloudHook(self.conn_id, **self.hook_params)
        account_id = self.account_id or await hook._resolve_account_id_async()
        async with asyncio.timeout(SECONDS_TO_CANCEL):
            while True:
                try:
                    async with hook.session() as session:
                        async with session.post(f"{account_id}/runs/{self.run_id}/cancel/") as answer:
                            answer.raise_for_status()
                            self.log.info("Cancelled run %s of dbt Cloud.", self.run_id)
                            return
                except (OSError, aiohttp.ClientError) as error:
                    self.log.warning("Could not cancel run %s yet: %s", self.run_id, error)
                    await asyncio.sleep(1)

    def _outcome(self, sight: Sight) -> tuple[str, str] | None:
        run = f"Run {self.run_id} of dbt Cloud"
        state = f"it was {sight.run['status_humanized'].lower()}" if sight.run else "it was never seen"
        if sight.ended.is_set() and sight.run:
            status = OUTCOMES[sight.run["status"]]
            return (
                status,
                f"{run} ended: {sight.run['status_humanized']}. {sight.run['status_message'] or ''}",
            )
        if self.execution_deadline is not None and time.time() >= self.execution_deadline:
            return "timeout", f"{run} took longer than the task's execution_timeout: {state}."
        if time.time() >= self.end_time:
            return "waited", f"{run} took longer than the task's timeout: {state}."
        if time.monotonic() - sight.seen_at >= self.patience:
            return "lost", (
                f"Sight of run {self.run_id} of dbt Cloud was lost {self.patience:.0f} seconds ago, when "
                f"{state}: {sight.trouble}. It may still go on."
            )
        return None

    def _seconds_left(self, sight: Sight) -> float:
        deadlines = [self.end_time, *([self.execution_deadline] if self.execution_deadline else [])]
        in_sight = sight.seen_at + self.patience - time.monotonic()
        return max(min([in_sight, *(deadline - time.time() for deadline in deadlines)]), 0.01)

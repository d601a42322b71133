"""Wait in the triggerer for the end of a dbt Cloud run."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from typing import Any

from airflow.providers.dbt.cloud.triggers.dbt import DbtCloudRunJobTrigger as ProviderTrigger
from airflow.sdk.configuration import conf
from airflow.triggers.base import TriggerEvent

from include.dbt_cloud.hook import DbtCloudHook
from include.dbt_cloud.job_run import JobRun
from include.dbt_cloud.poller import RunPoller, Subscription
from include.dbt_cloud.task_state import ENDED, task_state

# Seconds for the scheduler to learn that the process of the deferred task has ended.
SCHEDULER_MARGIN = 2
# Keeps the cancellations from being garbage collected.
_cancellations: set[asyncio.Task[None]] = set()
# Not the event loop's own threads, which look up host names for all requests: a mass clear would occupy them.
_cancel_threads = ThreadPoolExecutor(16, thread_name_prefix="cancel_dbt_cloud_run")


def is_event_of(run_id: int, event: Any) -> bool:
    """Return whether an event is about a run.

    With SQLite, Airflow reuses the ID of a deleted trigger. If the triggerer has not stopped that one yet,
    its event resumes the task that waits for the new trigger, which never runs.
    """
    return isinstance(event, dict) and event.get("run_id") == run_id


class DbtCloudRunJobTrigger(ProviderTrigger):
    """Wait for the end of a run: the provider's trigger, with the same arguments and the following.

    The event's ``status`` is the run's outcome, or ``timeout`` (``execution_deadline`` passed),
    ``wait_timeout`` (``end_time`` passed) or ``unreachable``; ``message`` is a sentence with the link to the
    run, ``owned`` as below.

    :param outage_tolerance: Seconds for which dbt Cloud may not answer, answer with errors, or not know the
        run. At least three polls. Default: 1800.
    :param cancel_on_kill: Whether to cancel the run when a user marks the deferred task failed or
        successful, or clears it. Default: True.
    :param owned: Whether the task started the run; a run started elsewhere is never canceled. Default: True.
    :param try_number: Number of the try that waits, which the event repeats. Default: unknown.
    """

    def __init__(
        self,
        *args: Any,
        outage_tolerance: float = 1800,
        cancel_on_kill: bool = True,
        owned: bool = True,
        try_number: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.outage_tolerance = outage_tolerance
        self.cancel_on_kill = cancel_on_kill
        self.owned = owned
        self.try_number = try_number
        # Of the monotonic clock; None while the run can be polled.
        self._lost_contact_at: float | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, from which the triggerer creates this trigger."""
        names = ("outage_tolerance", "cancel_on_kill", "owned", "try_number")
        arguments = super().serialize()[1] | {name: getattr(self, name) for name in names}
        return f"{type(self).__module__}.{type(self).__qualname__}", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event when the run has ended or a time limit has passed, but not in the first seconds.

        Airflow marks a task failed, with "state mismatch" in the audit log, if it resumes before Airflow has
        noticed that its deferred process ended. That can take ``min_heartbeat_interval``.
        """
        earliest = time.monotonic() + conf.getint("workers", "min_heartbeat_interval") + SCHEDULER_MARGIN
        event = await self.wait()
        await asyncio.sleep(max(earliest - time.monotonic(), 0))
        yield event

    async def wait(self) -> TriggerEvent:
        """Return the event that ``run`` yields."""
        hook = DbtCloudHook(self.conn_id, **self.hook_params)
        account_id = self.account_id or await self._load_account_id(hook)
        outage_tolerance = max(self.outage_tolerance, 3 * self.poll_interval)
        # Monotonic from here on: neither a clock change nor a suspended machine ends the wait.
        offset = time.monotonic() - time.time()
        limits = [
            ((self.execution_deadline or math.inf) + offset, "timeout"),
            (self.end_time + offset, "wait_timeout"),
        ]
        async with RunPoller.subscribe(hook, account_id, self.run_id, self.poll_interval) as subscription:
            while not (subscription.run and subscription.run.outcome):
                due, status = min(*limits, (subscription.updated_at + outage_tolerance, "unreachable"))
                remaining = due - time.monotonic()
                if remaining <= 0:
                    return self.event(status, subscription.run, subscription.last_error)
                with suppress(TimeoutError):
                    await asyncio.wait_for(subscription.changed.wait(), remaining)
                subscription.changed.clear()
                self._log_contact(subscription)
        return self.event(subscription.run.outcome, subscription.run)

    def _log_contact(self, subscription: Subscription) -> None:
        if subscription.last_error and self._lost_contact_at is None:
            self._lost_contact_at = subscription.updated_at
            self.log.warning("Lost contact with dbt Cloud run %s: %s", self.run_id, subscription.last_error)
        elif self._lost_contact_at is not None and not subscription.last_error:
            seconds = subscription.updated_at - self._lost_contact_at
            self.log.info("dbt Cloud run %s can be polled again, after %.0f seconds.", self.run_id, seconds)
            self._lost_contact_at = None

    def event(self, status: str, run: JobRun | None = None, last_error: str = "") -> TriggerEvent:
        """Return an event; its message says what is known about the run."""
        last = f"last status: {run.status_humanized if run else 'unknown'}"
        last += f"; last error: {last_error}" if last_error else ""
        name = f"dbt Cloud run {self.run_id}"
        message = {
            "timeout": f"{name} exceeded the task's execution_timeout ({last}).",
            "wait_timeout": f"{name} exceeded the task's timeout ({last}). It may still be active.",
            "unreachable": f"Lost contact with {name} ({last}). It may still be active; a retry reattaches.",
        }.get(status)
        if run:
            message = f"{message} See {run.href}" if message else run.summary
        facts = {"run_id": self.run_id, "owned": self.owned, "try_number": self.try_number}
        return TriggerEvent({"status": status, "message": message} | facts)

    async def on_kill(self) -> None:
        """Cancel the run if a user marked the deferred task failed or successful, or cleared it.

        Airflow also calls this in a triggerer that stalled, after another one has taken over its triggers.
        """
        if not (self.cancel_on_kill and self.owned):
            return
        task = asyncio.create_task(self._cancel_if_ended())
        _cancellations.add(task)
        task.add_done_callback(_cancellations.discard)
        # Airflow 3.3 cancels on_kill about a second after it starts, whatever on_kill_timeout says.
        await asyncio.shield(task)

    async def _cancel_if_ended(self) -> None:
        try:
            state = await _in_thread(task_state, self.task_instance)
            # None means cleared. Once scheduled, a clear looks like a retry: its try cancels the run.
            if state is not None and state not in ENDED:
                self.log.info("Not canceling dbt Cloud run %s: the task's state is %s.", self.run_id, state)
                return
            hook = DbtCloudHook(self.conn_id, **self.hook_params)
            # Read here: a thread of the triggerer cannot read a connection.
            await hook.load_connection()
            await _in_thread(hook.cancel_job_run, self.run_id, self.account_id or hook.account_id)
            self.log.info("Canceled dbt Cloud run %s.", self.run_id)
        except Exception as error:
            self.log.warning("Could not cancel dbt Cloud run %s: %s", self.run_id, error)

    @staticmethod
    async def _load_account_id(hook: DbtCloudHook) -> int:
        await hook.load_connection()
        return hook.account_id


async def _in_thread(function: Callable[..., Any], *args: Any) -> Any:
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_cancel_threads, copy_context().run, function, *args)

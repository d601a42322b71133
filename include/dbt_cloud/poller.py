"""Poll all the runs that a triggerer waits for, a hundred in one request."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from itertools import islice
from typing import Any, ClassVar

import aiohttp

from include.dbt_cloud.exceptions import describe_error, parse_retry_after
from include.dbt_cloud.hook import PAGE_SIZE, SESSION_LIFETIME, DbtCloudHook
from include.dbt_cloud.job_run import JobRun

# Statuses by which dbt Cloud, or a proxy, rejects the filter by run IDs.
FILTER_NOT_SUPPORTED = (400, 404, 405, 501)
# Seconds: a longer Retry-After is shortened to this.
MAX_PAUSE = 300


class Subscription:
    """The newest known state of one run.

    :param poll_interval: Seconds between two polls that the subscriber asks for.
    """

    def __init__(self, poll_interval: float) -> None:
        self.poll_interval = poll_interval
        # None until the run was seen.
        self.run: JobRun | None = None
        # Of the monotonic clock: when the run was seen last.
        self.updated_at = time.monotonic()
        # Why the last poll did not return the run; empty if it did.
        self.last_error = ""
        # Set when the run has ended, and when it can no longer be polled or can again.
        self.changed = asyncio.Event()

    def update(self, run: JobRun) -> None:
        """Store the state of the run from a poll."""
        if not run.is_active and run.outcome is None:
            self.fail(f"unknown status {run.status}")
            return
        if run.outcome or self.last_error:
            self.changed.set()
        self.run, self.updated_at, self.last_error = run, time.monotonic(), ""

    def fail(self, error: str) -> None:
        """Store why a poll did not return the run."""
        if not self.last_error:
            self.changed.set()
        self.last_error = error


class RunPoller:
    """Polls the runs of one account for all triggers of a triggerer that wait for a run.

    It starts with the first subscription and ends with the last. A failed poll is reported to the
    subscriptions and repeated.
    """

    # By event loop (a triggerer has one), connection, account and the hook's limits.
    _pollers: ClassVar[dict[Any, "RunPoller"]] = {}

    def __init__(self, hook: DbtCloudHook, account_id: int) -> None:
        self.hook = hook
        self.account_id = account_id
        self.subscriptions: dict[int, list[Subscription]] = {}
        self.task: asyncio.Task[None] | None = None
        # Requests that the last poll sent, and the Retry-After (seconds) that it got.
        self.sent = 0
        self.retry_after = 0.0

    @classmethod
    @asynccontextmanager
    async def subscribe(
        cls, hook: DbtCloudHook, account_id: int, run_id: int, poll_interval: float
    ) -> AsyncIterator[Subscription]:
        """Keep a run's state up to date while the block runs; the shortest ``poll_interval`` counts."""
        limits = hook.timeout_seconds, hook.max_requests_per_minute
        key = (asyncio.get_running_loop(), hook.dbt_cloud_conn_id, account_id, limits)
        poller = cls._pollers.setdefault(key, cls(hook, account_id))
        # A shorter interval than all others takes effect at once, unless dbt Cloud asked for this pause.
        is_shorter = poller.subscriptions and poll_interval < poller._poll_interval()
        restart = not poller.subscriptions or (is_shorter and not poller._retry_after())
        poller.subscriptions.setdefault(run_id, []).append(subscription := Subscription(poll_interval))
        if restart:
            poller._stop()
            poller.task = asyncio.create_task(poller._poll(), name=f"dbt Cloud runs of {key[1]}")
        try:
            yield subscription
        finally:
            poller.subscriptions[run_id].remove(subscription)
            if not poller.subscriptions[run_id]:
                del poller.subscriptions[run_id]
            if not poller.subscriptions:
                del cls._pollers[key]
                poller._stop()

    def _poll_interval(self) -> float:
        return min(one.poll_interval for of_run in self.subscriptions.values() for one in of_run)

    def _pollers_of_account(self) -> list["RunPoller"]:
        account = self.hook.dbt_cloud_conn_id, self.account_id
        return [poller for key, poller in self._pollers.items() if key[1:3] == account]

    def _retry_after(self) -> float:
        """Return the seconds that dbt Cloud asked the pollers of the account to wait; 0 if it did not."""
        return min(max((poller.retry_after for poller in self._pollers_of_account()), default=0), MAX_PAUSE)

    def _pause(self) -> float:
        """Return the seconds until the next poll, so that all pollers of the account keep the limits."""
        sent = sum(poller.sent for poller in self._pollers_of_account())
        within_budget = 60 * sent / self.hook.max_requests_per_minute
        return max(self._poll_interval(), within_budget, self._retry_after())

    def _stop(self) -> None:
        if self.task:
            self.task.cancel()

    async def _poll(self) -> None:
        while True:
            try:
                async with self.hook.async_session() as session:
                    renew_at = time.monotonic() + SESSION_LIFETIME
                    # A failure ends the loop and the session: the token or the host may have changed.
                    while await self._poll_once(session) and time.monotonic() < renew_at:
                        continue
            except Exception as error:
                # The connection cannot be read, or is wrong.
                self._publish_error(self.subscriptions, error)
                await asyncio.sleep(self._pause())

    async def _poll_once(self, session: aiohttp.ClientSession) -> bool:
        """Request all runs, then pause; return whether no request failed."""
        remaining, answered = iter(sorted(self.subscriptions)), True
        self.sent, self.retry_after = 0, 0.0
        while run_ids := set(islice(remaining, PAGE_SIZE)):
            try:
                await self._fetch_batch(session, run_ids)
            except Exception as error:
                answered = False
                self._publish_error(run_ids, error)
        await asyncio.sleep(self._pause())
        return answered

    async def _fetch_batch(self, session: aiohttp.ClientSession, run_ids: set[int]) -> None:
        query, missing = {"pk__in": str(sorted(run_ids)), "limit": PAGE_SIZE}, set(run_ids)
        try:
            for run in await self._get(session, "runs/", query):
                # A run that cannot be parsed must not hide the others.
                with suppress(ValueError):
                    missing.discard(self._publish(run))
        except aiohttp.ClientResponseError as error:
            if error.status not in FILTER_NOT_SUPPORTED:
                raise
        # A run that the list leaves out is requested by itself before it counts as missing.
        for run_id in sorted(missing):
            try:
                self._publish(await self._get(session, f"runs/{run_id}/"))
            except (aiohttp.ClientResponseError, ValueError) as error:
                # A rejected token or a rate limit fails for every run, anything else for this one.
                if getattr(error, "status", None) in (401, 429):
                    raise
                self._publish_error([run_id], error)

    async def _get(self, session: aiohttp.ClientSession, path: str, query: Any = None) -> Any:
        self.sent += 1
        async with session.get(f"{self.account_id}/{path}", params=query) as response:
            if response.status == 429:
                self.retry_after = parse_retry_after(response.headers.get("Retry-After"))
            response.raise_for_status()
            return (await response.json())["data"]

    def _publish(self, data: Any) -> int:
        run = JobRun.from_api(data)
        for subscription in self.subscriptions.get(run.id, []):
            subscription.update(run)
        return run.id

    def _publish_error(self, run_ids: Iterable[int], error: Exception) -> None:
        for run_id in run_ids:
            for subscription in self.subscriptions.get(run_id, []):
                subscription.fail(describe_error(error))

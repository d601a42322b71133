"""Asks dbt Cloud about all the runs that a triggerer waits for, a hundred in one request."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any, ClassVar

import aiohttp

from include.dbt_cloud.hook import ACTIVE, DbtCloudHook

# The most that dbt Cloud returns of a list in one answer.
RUNS_IN_A_REQUEST = 100
ENDED = (10, 20, 30)


class Sight:
    """What was last seen of one run, and since when it is not seen.

    ``run`` is the run as dbt Cloud's API writes it, None before it was seen; ``trouble`` says why the last
    round showed nothing, empty if it showed the run.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.run: dict[str, Any] | None = None
        self.seen_at = time.monotonic()
        self.trouble = "not asked yet"
        self.ended = asyncio.Event()

    def see(self, run: dict[str, Any]) -> None:
        """Note what dbt Cloud says of the run."""
        if run["status"] not in (*ACTIVE, *ENDED):
            self.trouble = f"its status is {run['status']}, which is not known"
            return
        self.run, self.seen_at, self.trouble = run, time.monotonic(), ""
        if run["status"] in ENDED:
            self.ended.set()


class RunWatcher:
    """Watches runs of one account for all the triggers of a triggerer that wait for one.

    It begins with the first of them and ends with the last. A round that fails shows nothing, the next may;
    for how long to be patient is for each trigger to say.
    """

    # By event loop, connection and account: a triggerer has one loop.
    _watchers: ClassVar[dict[Any, "RunWatcher"]] = {}

    def __init__(self, hook: DbtCloudHook, account_id: int) -> None:
        self.hook = hook
        self.account_id = account_id
        self.sights: dict[int, list[Sight]] = {}
        self.rounds: asyncio.Task[None] | None = None

    @classmethod
    @asynccontextmanager
    async def watching(
        cls, hook: DbtCloudHook, account_id: int, run_id: int, seconds: float
    ) -> AsyncIterator[Sight]:
        """Watch a run while the block runs, with a round every so many seconds, or more often."""
        key = (asyncio.get_running_loop(), hook.dbt_cloud_conn_id, account_id)
        watcher = cls._watchers.setdefault(key, cls(hook, account_id))
        # Whoever is in more of a hurry than all others does not wait for their next round.
        begin = not watcher.sights or seconds < watcher._seconds()
        watcher.sights.setdefault(run_id, []).append(sight := Sight(seconds))
        if begin:
            watcher._stop()
            watcher.rounds = asyncio.create_task(watcher._watch(), name=f"dbt Cloud runs of {key[1]}")
        try:
            yield sight
        finally:
            watcher.sights[run_id].remove(sight)
            if not watcher.sights[run_id]:
                del watcher.sights[run_id]
            if not watcher.sights:
                del cls._watchers[key]
                watcher._stop()

    def _seconds(self) -> float:
        return min(sight.seconds for sights in self.sights.values() for sight in sights)

    def _stop(self) -> None:
        if self.rounds:
            self.rounds.cancel()

    async def _watch(self) -> None:
        while True:
            try:
                async with self.hook.session() as session:
                    # After a failed round begin anew: the token or the host may have been changed.
                    while await self._round(session):
                        continue
            except Exception as error:
                # No connection to read, no session: as patient as with a round that fails.
                self._show_trouble(set(self.sights), error)
                await asyncio.sleep(self._seconds())

    async def _round(self, session: aiohttp.ClientSession) -> bool:
        """Ask after all runs, then pause; return whether all was answered."""
        remaining = iter(sorted(self.sights))
        answered = True
        while ids := set(islice(remaining, RUNS_IN_A_REQUEST)):
            try:
                await self._ask(session, ids)
            except Exception as error:
                answered = False
                self._show_trouble(ids, error)
        await asyncio.sleep(self._seconds())
        return answered

    async def _ask(self, session: aiohttp.ClientSession, ids: set[int]) -> None:
        """Ask after some runs, in one request where dbt Cloud takes lists of ids."""
        query, missing = {"pk__in": str(sorted(ids)), "limit": RUNS_IN_A_REQUEST}, set(ids)
        try:
            for run in await self._get(session, "runs/", query):
                self._show(run)
                missing.discard(run["id"])
        except aiohttp.ClientResponseError as error:
            if error.status not in (400, 404, 405, 501):
                raise
        # A run that is not in the list is asked for by itself before it counts as missing.
        for run_id in sorted(missing):
            try:
                self._show(await self._get(session, f"runs/{run_id}/"))
            except aiohttp.ClientResponseError as error:
                # With a refused token every other run fares as badly; otherwise the others go on.
                if error.status == 401:
                    raise
                self._show_trouble({run_id}, error)

    async def _get(self, session: aiohttp.ClientSession, path: str, query: Any = None) -> Any:
        async with session.get(f"{self.account_id}/{path}", params=query) as answer:
            answer.raise_for_status()
            return (await answer.json())["data"]

    def _show(self, run: dict[str, Any]) -> None:
        for sight in self.sights.get(run["id"], []):
            sight.see(run)

    def _show_trouble(self, ids: set[int], error: Exception) -> None:
        for sight in [sight for run_id in ids for sight in self.sights.get(run_id, [])]:
            # Without an address, or what is wrong with it: that of a proxy may hold a password.
            said = "" if isinstance(error, ValueError) else str(error).partition(", url=")[0]
            sight.trouble = said or type(error).__name__

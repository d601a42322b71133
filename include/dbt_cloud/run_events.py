"""Turn dbt Cloud runs into asset events when they end, whoever started them."""

import asyncio
import itertools
import json
import logging
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp
from airflow.sdk import Asset, AssetWatcher, Variable
from airflow.triggers.base import BaseEventTrigger, TriggerEvent
from airflow.triggers.shared_stream import AdvanceItem, SharedStreamProducer

from include.dbt_cloud.hook import DbtCloudHook
from include.dbt_cloud.job_run import OUTCOMES, JobRun
from include.dbt_cloud.run_cursor import OVERLAP, RunCursor
from include.dbt_cloud.run_tags import is_tagged

# Key in the state store of the watched asset.
CURSOR = "dbt_cloud_run_cursor"
# The most that dbt Cloud returns in one list.
PAGE_SIZE = 100
# After a long outage one poll reads that many, and the next one continues.
MAX_PAGES = 5
VARIABLE = re.compile(r"\{\{ *var\.value\.(\w+) *\}\}")

log = logging.getLogger(__name__)


def watched_asset(name: str, **arguments: Any) -> Asset:
    """Return an asset that gets an event when a dbt Cloud run ends.

    Define it in one module and import it from there: a Dag file with a second definition, without the
    watcher, removes the watcher whenever it is parsed.

    :param arguments: Those of ``DbtCloudRunEventTrigger``.
    """
    trigger = DbtCloudRunEventTrigger(asset=name, **arguments)
    return Asset(name, watchers=[AssetWatcher(name=name, trigger=trigger)])


class DbtCloudRunEventTrigger(BaseEventTrigger):
    """Fire when a run of an account ends; for the watcher of an asset.

    The event has ``run_id``, ``job_id``, ``job_name``, ``outcome`` (success, error, cancelled or expired),
    ``message``, ``href``, ``cause``, ``git_sha``, and ``created_at``, ``started_at`` and ``finished_at`` in
    UTC.

    All watchers of a connection share one request per poll. Their first start skips the runs that have
    ended by then. Every later one fires at least once, whatever fails in between: the cursor in the asset's
    state store moves when Airflow has stored the events. A triggerer that is killed just before that fires
    again, and Airflow cannot prevent it: ``unhandled_runs`` leaves such repetitions out. A run is missed
    only if dbt Cloud lists it more than ten minutes after another one that ended later.

    :param asset: Name of the asset. Without it, equal triggers of two assets would become one.
    :param conn_id: ID of the dbt Cloud connection. Default: dbt_conn.
    :param job_ids: IDs of jobs; ``{{ var.value.<name> }}`` stands for the variable that holds one. Default:
        all jobs of the account.
    :param outcomes: How a run must have ended. Default: in any way.
    :param include_own: Whether to fire for runs that this Airflow started, and for what dbt Cloud retried
        of them. Default: False; their tasks update assets themselves.
    :param poll_interval: Seconds between two polls. Watchers share only equal ones. Default: 5.
    """

    def __init__(
        self,
        asset: str,
        conn_id: str = "dbt_conn",
        job_ids: Sequence[int | str] = (),
        outcomes: Sequence[str] = (),
        include_own: bool = False,
        poll_interval: float = 5,
    ) -> None:
        super().__init__()
        self.asset = asset
        self.conn_id = conn_id
        self.job_ids = job_ids
        self.outcomes = outcomes
        self.include_own = include_own
        self.poll_interval = poll_interval
        if unknown := set(outcomes) - {*OUTCOMES.values(), "expired"}:
            raise ValueError(f"A dbt Cloud run has no outcome {', '.join(sorted(unknown))}.")

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, from which the triggerer creates this trigger."""
        arguments = {
            "asset": self.asset,
            "conn_id": self.conn_id,
            "job_ids": list(self.job_ids),
            "outcomes": list(self.outcomes),
            "include_own": self.include_own,
            "poll_interval": self.poll_interval,
        }
        return f"{type(self).__module__}.{type(self).__qualname__}", arguments

    def shared_stream_key(self) -> tuple[str, str, float]:
        """Return what the watchers that share their polls have in common."""
        # With the class: Airflow would let triggers of another one join.
        return self.serialize()[0], self.conn_id, self.poll_interval

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> SharedStreamProducer:
        """Return what polls for all watchers that share a key."""
        return _RunFeed(DbtCloudHook(kwargs["conn_id"]), kwargs["poll_interval"])

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Not used: Airflow calls ``filter_shared_stream`` of a trigger with a key."""
        raise NotImplementedError("This trigger needs the shared streams of Airflow 3.3.")
        yield

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Any]) -> AsyncIterator[TriggerEvent]:
        """Fire for the runs in each poll that are new to this watcher."""
        assert self.asset_state_store is not None
        stored = await self.asset_state_store.aget(CURSOR)
        saved = RunCursor.from_json(stored) if stored else None
        cursor = saved or RunCursor.now()
        outage = _Outage(f"the job IDs {self.job_ids} that the asset {self.asset!r} watches")
        async for poll in shared_stream:
            # At the first start, the runs that have ended are skipped: all of them must be known.
            if poll.since <= cursor.start and (saved or poll.is_complete):
                runs, advanced = cursor.advance(poll.runs)
                try:
                    matching = self._select(runs, poll) if runs and saved else []
                except Exception as error:
                    outage.begin(error)
                else:
                    outage.end()
                    for run in matching:
                        yield TriggerEvent(_payload(run))
                    cursor = advanced
                    # Without an event now and then, lest the next start reads far back.
                    if matching or saved is None or cursor.position - saved.position > OVERLAP:
                        poll.cursors.append((self.asset_state_store, cursor))
                        saved = cursor
            poll.next_since.append(cursor.start)

    def _select(self, runs: list[JobRun], poll: "_Poll") -> list[JobRun]:
        job_ids = [_resolve(job_id) for job_id in self.job_ids]
        return [
            run
            for run in runs
            if (not job_ids or run.job_id in job_ids)
            and (not self.outcomes or run.outcome in self.outcomes)
            and (self.include_own or run.id not in poll.own_run_ids)
        ]


def _resolve(job_id: int | str) -> int:
    variable = VARIABLE.fullmatch(str(job_id).strip())
    # Read each time: it may have changed.
    return int(Variable.get(variable[1]) if variable else job_id)


def _payload(run: JobRun) -> dict[str, Any]:
    names = ("job_id", "job_name", "outcome", "href", "cause", "git_sha")
    times = ("created_at", "started_at", "finished_at")
    facts = {name: getattr(run, name) for name in (*names, *times)}
    return {"run_id": run.id, "message": run.summary} | facts


class _Outage:
    """Log that something fails once, and once that it works again."""

    def __init__(self, what: str) -> None:
        self.what = what
        # Of the monotonic clock; None if the last attempt worked.
        self.since: float | None = None

    def begin(self, error: Exception) -> None:
        """Take note of a failed attempt."""
        if self.since is None:
            self.since = time.monotonic()
            # Without the URL, or the message about a wrong one: that of a proxy may hold a password.
            message = "" if isinstance(error, ValueError) else str(error).partition(", url=")[0]
            log.warning("Cannot read %s, trying again: %s", self.what, message or type(error).__name__)

    def end(self) -> None:
        """Take note of an attempt that worked."""
        if self.since is not None:
            log.info("Read %s again after %.0f seconds.", self.what, time.monotonic() - self.since)
            self.since = None


@dataclass
class _Poll:
    """What one poll found, and what the watchers add to it."""

    # The runs that ended since then, oldest first; all of them, or the first.
    since: datetime
    runs: list[JobRun]
    is_complete: bool
    own_run_ids: set[int]
    # To be saved when the events are stored: each with the store of its watcher.
    cursors: list[tuple[Any, RunCursor]] = field(default_factory=list)
    # From when on each watcher needs the next poll.
    next_since: list[datetime] = field(default_factory=list)


class _RunFeed(SharedStreamProducer):
    """Polls the runs of an account that have ended, for all watchers in a triggerer.

    It tolerates every error: Airflow would restart the watchers every two seconds.
    """

    def __init__(self, hook: DbtCloudHook, poll_interval: float) -> None:
        self.hook = hook
        self.poll_interval = poll_interval
        # Whether this Airflow started the run that a run retries, by the latter's ID.
        self.own_retries: dict[int, bool] = {}

    async def open_stream(self) -> AsyncIterator[tuple[_Poll, _Poll]]:
        """Yield each poll, which ``advance`` gets too once all watchers are done with it."""
        since = RunCursor.now().start
        outage = _Outage(f"the runs of dbt Cloud through {self.hook.dbt_cloud_conn_id!r}")
        while True:
            try:
                # After a failure in a new session: the token or the host may have changed.
                async with self.hook.async_session() as session:
                    while True:
                        poll = await self._poll_once(session, since)
                        outage.end()
                        yield poll, poll
                        await asyncio.sleep(self.poll_interval)
                        since = min(poll.next_since, default=since)
            except Exception as error:
                outage.begin(error)
            await asyncio.sleep(self.poll_interval)

    async def advance(self, batch: Sequence[AdvanceItem]) -> None:
        """Save the last cursor of each watcher in polls whose events are stored."""
        # A watcher that failed starts again from its saved cursor; which one did is not known.
        polls = [poll for poll, outcome in batch if outcome.failed == 0]
        cursors = {store: cursor for poll in polls for store, cursor in poll.cursors}
        for store, cursor in cursors.items():
            try:
                await store.aset(CURSOR, cursor.as_json())
            except Exception as error:
                log.warning("Cannot save the cursor of %r; the next one will do: %s", store, error)

    async def _poll_once(self, session: aiohttp.ClientSession, since: datetime) -> _Poll:
        runs: dict[int, JobRun] = {}
        # A run from Airflow's future must not move a cursor beyond the runs of now.
        query = {
            "status__in": str(list(OUTCOMES)),
            "finished_at__range": json.dumps([since.isoformat(), (datetime.now(UTC) + OVERLAP).isoformat()]),
            "order_by": "finished_at",
            "include_related": '["trigger","job"]',
            "limit": PAGE_SIZE,
        }
        for page in itertools.count():
            found = await self._get(session, "runs/", query | {"offset": page * PAGE_SIZE})
            for data in found:
                # One that cannot be read does not hide the others.
                with suppress(ValueError):
                    run = JobRun.from_api(data)
                    runs[run.id] = run
            is_complete = len(found) < PAGE_SIZE
            end = max((run.finished_at or "" for run in runs.values()), default="")
            # Not before the end of the overlap, or no cursor would move.
            if is_complete or (page + 1 >= MAX_PAGES and end > (since + OVERLAP).isoformat()):
                break
        own = {run.id for run in runs.values() if await self._is_own(session, run)}
        ordered = sorted(runs.values(), key=lambda run: run.finished_at or "")
        return _Poll(since, ordered, is_complete, own)

    async def _is_own(self, session: aiohttp.ClientSession, run: JobRun) -> bool:
        if is_tagged(run.cause) or not run.retrying_run_id:
            return is_tagged(run.cause)
        # dbt Cloud gives a retry a cause of its own.
        if run.id not in self.own_retries:
            path, query = f"runs/{run.retrying_run_id}/", {"include_related": '["trigger"]'}
            try:
                retried = JobRun.from_api(await self._get(session, path, query))
                self.own_retries[run.id] = await self._is_own(session, retried)
            except aiohttp.ClientResponseError as error:
                if error.status != 404:
                    raise
                self.own_retries[run.id] = False
        return self.own_retries[run.id]

    async def _get(self, session: aiohttp.ClientSession, path: str, query: dict[str, Any]) -> Any:
        async with session.get(f"{self.hook.account_id}/{path}", params=query) as response:
            response.raise_for_status()
            return (await response.json())["data"]

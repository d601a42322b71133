"""Poll the ended runs of an account for all watchers of a triggerer."""

import asyncio
import itertools
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

import aiohttp
from airflow.sdk import Variable
from airflow.triggers.shared_stream import AdvanceItem, SharedStreamProducer

from include.dbt_cloud.exceptions import describe_error, parse_retry_after
from include.dbt_cloud.hook import PAGE_SIZE, SESSION_LIFETIME, DbtCloudHook
from include.dbt_cloud.job_run import OUTCOMES, JobRun
from include.dbt_cloud.results import read_nodes
from include.dbt_cloud.run_cursor import OVERLAP, RunCursor
from include.dbt_cloud.run_tags import DEPLOYMENT_VARIABLE, deployment_tag

# Key in the state store of the watched asset.
CURSOR = "dbt_cloud_run_cursor"
# Pages that one poll reads after a long outage; the next poll reads on.
MAX_PAGES = 5
# Seconds: a longer Retry-After is shortened to this.
MAX_PAUSE = 300
# Seconds for which the models of a run may be unreadable before its watchers go on without it.
MODELS_TOLERANCE = 1800
# Number of runs whose models are cached for watchers that ask later.
MAX_RESULTS = PAGE_SIZE * MAX_PAGES

log = logging.getLogger(__name__)


class Outage:
    """Log once that something fails, and once that it works again."""

    def __init__(self, what: str) -> None:
        self.what = what
        # Of the monotonic clock; None if the last attempt worked.
        self.since: float | None = None

    def begin(self, error: Exception) -> None:
        """Record a failed attempt."""
        if self.since is None:
            self.since = time.monotonic()
            log.warning("Cannot read %s, trying again: %s", self.what, describe_error(error))

    def end(self) -> None:
        """Record a successful attempt."""
        if self.since is not None:
            log.info("Read %s again after %.0f seconds.", self.what, time.monotonic() - self.since)
            self.since = None


@dataclass
class Poll:
    """What one poll found, and what the watchers add to it.

    :param built_models: Reads the models that a run has built.
    """

    # The runs that ended since this time, oldest first; only the oldest ones if not complete.
    since: datetime
    runs: list[JobRun]
    is_complete: bool
    own_run_ids: set[int]
    built_models: Callable[[JobRun], Awaitable[dict[str | None, dict[str, Any]]]]
    # Of the monotonic clock.
    at: float = field(default_factory=time.monotonic, init=False)
    # Cursors to save once Airflow has stored the events, each with the store of its watcher.
    cursors: list[tuple[Any, RunCursor]] = field(default_factory=list)
    # For each watcher, the end time from which it needs runs in the next poll.
    next_since: list[datetime] = field(default_factory=list)


class RunFeed(SharedStreamProducer):
    """Polls the ended runs of an account for all watchers in a triggerer.

    It tolerates every error, because Airflow would restart the watchers every two seconds.
    """

    def __init__(self, hook: DbtCloudHook, poll_interval: float) -> None:
        self.hook = hook
        self.poll_interval = poll_interval
        # Prefix of the tags of this Airflow's runs; None until the first run is read.
        self.own_tag: str | None = None
        # By the ID of a retry in dbt Cloud: whether this Airflow started the run that it retries.
        self.own_retries: dict[int, bool] = {}
        # By run ID, then by model.
        self.built_models: dict[int, dict[str | None, dict[str, Any]]] = {}
        # By run ID: when its models could not be read for the first time, of the monotonic clock.
        self.unreadable_since: dict[int, float] = {}
        self.lock = asyncio.Lock()

    async def open_stream(self) -> AsyncIterator[tuple[Poll, Poll]]:
        """Yield each poll twice: for the watchers, and for ``advance`` once all watchers are done with it."""
        since = RunCursor.now().start
        outage = Outage(f"the runs of dbt Cloud through {self.hook.dbt_cloud_conn_id!r}")
        while True:
            try:
                # A failure ends the loop and the session: the token or the host may have changed.
                async with self.hook.async_session() as session:
                    renew_at = time.monotonic() + SESSION_LIFETIME
                    while time.monotonic() < renew_at:
                        poll = await self._poll_once(session, since)
                        outage.end()
                        yield poll, poll
                        await asyncio.sleep(self.poll_interval)
                        is_stuck = not poll.is_complete and since == min(poll.next_since, default=None)
                        # Take turns: a watcher that cannot advance must not keep newer runs from the others.
                        since = (max if is_stuck else min)(poll.next_since, default=since)
            except Exception as error:
                outage.begin(error)
                await asyncio.sleep(max(self.poll_interval, min(_retry_after(error), MAX_PAUSE)))

    async def advance(self, batch: Sequence[AdvanceItem]) -> None:
        """Save the last cursor of each watcher from the polls whose events Airflow has stored."""
        # After a failure, save none: Airflow does not tell which watcher failed and must read the runs again.
        polls = [poll for poll, outcome in batch if outcome.failed == 0]
        cursors = {store: cursor for poll in polls for store, cursor in poll.cursors}
        for store, cursor in cursors.items():
            try:
                await store.aset(CURSOR, cursor.as_json())
            except Exception as error:
                log.warning("Could not save the cursor in %r; a later poll saves one: %s", store, error)

    async def _poll_once(self, session: aiohttp.ClientSession, since: datetime) -> Poll:
        runs: dict[int, JobRun] = {}
        # A run that ended in the future by Airflow's clock must not move a cursor past the current runs.
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
                # A run that cannot be parsed must not hide the others.
                with suppress(ValueError):
                    run = JobRun.from_api(data)
                    runs[run.id] = run
            is_complete = len(found) < PAGE_SIZE
            end = max((run.finished_at or "" for run in runs.values()), default="")
            # Read at least to the end of the overlap, or no cursor would move.
            if is_complete or (page + 1 >= MAX_PAGES and end > (since + OVERLAP).isoformat()):
                break
        own_tag = await self._load_own_tag()
        own = {run.id for run in runs.values() if own_tag and await self._is_own(session, run, own_tag)}
        ordered = sorted(runs.values(), key=lambda run: run.finished_at or "")
        return Poll(since, ordered, is_complete, own, partial(self._built_models, session))

    async def _built_models(
        self, session: aiohttp.ClientSession, run: JobRun
    ) -> dict[str | None, dict[str, Any]]:
        # The first watcher that asks reads the models for all.
        async with self.lock:
            if run.id not in self.built_models:
                self.built_models[run.id] = await self._read_models_or_give_up(session, run)
                # Keep recent ones: watchers that failed ask again at the next poll.
                for run_id in list(self.built_models)[:-MAX_RESULTS]:
                    del self.built_models[run_id]
        return self.built_models[run.id]

    async def _read_models_or_give_up(
        self, session: aiohttp.ClientSession, run: JobRun
    ) -> dict[str | None, dict[str, Any]]:
        try:
            models = await self._read_models(session, run)
        except Exception as error:
            is_first = run.id not in self.unreadable_since
            tried_for = time.monotonic() - self.unreadable_since.setdefault(run.id, time.monotonic())
            may_pass = _may_pass(error) and tried_for < MODELS_TOLERANCE
            if is_first or not may_pass:
                then = "trying again" if may_pass else "going on without it"
                log.warning(
                    "Cannot read the models of dbt Cloud run %s, %s: %s", run.id, then, describe_error(error)
                )
            if may_pass:
                raise
            # The run would hold up all that ended later.
            models = {}
        self.unreadable_since.pop(run.id, None)
        return models

    async def _read_models(
        self, session: aiohttp.ClientSession, run: JobRun
    ) -> dict[str | None, dict[str, Any]]:
        if run.outcome != "success":
            return {}
        path = f"{self.hook.account_id}/runs/{run.id}/artifacts/run_results.json"
        async with session.get(path) as response:
            # A run without a dbt step has no such artifact.
            if response.status == 404:
                return {}
            response.raise_for_status()
            # A proxy's page: with the type None, json() would take it for a broken artifact.
            is_page = response.content_type == "text/html"
            artifact = await response.json(content_type="application/json" if is_page else None)
        return {
            node["unique_id"].removeprefix("model."): {
                key: node.get(key) for key in ("execution_time", "rows")
            }
            for node in read_nodes(artifact)
            if node["unique_id"].startswith("model.") and node["status"] == "success"
        }

    async def _load_own_tag(self) -> str | None:
        """Return what the tags of this Airflow begin with; None before a task has started the first run."""
        if self.own_tag is None:
            # In a thread: in the event loop, Airflow would say that the variable does not exist.
            deployment = await asyncio.to_thread(Variable.get, DEPLOYMENT_VARIABLE, default=None)
            self.own_tag = deployment and deployment_tag(deployment)
        return self.own_tag

    async def _is_own(self, session: aiohttp.ClientSession, run: JobRun, own_tag: str) -> bool:
        if own_tag in run.cause or not run.retrying_run_id:
            return own_tag in run.cause
        # dbt Cloud gives a retry a different cause.
        if run.id not in self.own_retries:
            path, query = f"runs/{run.retrying_run_id}/", {"include_related": '["trigger"]'}
            try:
                retried = JobRun.from_api(await self._get(session, path, query))
                self.own_retries[run.id] = await self._is_own(session, retried, own_tag)
            except (aiohttp.ClientResponseError, ValueError) as error:
                if _may_pass(error):
                    raise
                self.own_retries[run.id] = False
        return self.own_retries[run.id]

    async def _get(self, session: aiohttp.ClientSession, path: str, query: dict[str, Any]) -> Any:
        async with session.get(f"{self.hook.account_id}/{path}", params=query) as response:
            response.raise_for_status()
            return (await response.json())["data"]


def _may_pass(error: Exception) -> bool:
    """Return whether the same request may succeed later: after an outage, a pause, or with another token.

    A page instead of JSON, which aiohttp reports with the status 200, comes from a proxy and passes too.
    """
    if isinstance(error, aiohttp.ClientResponseError):
        return error.status < 400 or error.status in (401, 408, 429) or error.status >= 500
    return not isinstance(error, ValueError)


def _retry_after(error: Exception) -> float:
    headers = getattr(error, "headers", None) or {}
    return parse_retry_after(headers.get("Retry-After")) if getattr(error, "status", None) == 429 else 0

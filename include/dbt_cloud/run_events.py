"""Turn dbt Cloud runs into asset events when they end, whoever started them."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from airflow.sdk import Asset, AssetWatcher, Variable
from airflow.triggers.base import BaseEventTrigger, TriggerEvent
from airflow.triggers.shared_stream import SharedStreamProducer

from include.dbt_cloud.hook import DbtCloudHook
from include.dbt_cloud.job_run import OUTCOMES, JobRun
from include.dbt_cloud.model_assets import model_asset
from include.dbt_cloud.run_cursor import OVERLAP, RunCursor
from include.dbt_cloud.run_feed import CURSOR, Outage, Poll, RunFeed

# Seconds that a watcher may take for one poll. Airflow stops it if it takes five minutes, queue included.
READ_TIMEOUT = 60
VARIABLE = re.compile(r"\{\{ *var\.value\.(\w+) *\}\}")


def watched_asset(name: str, **arguments: Any) -> Asset:
    """Return an asset that gets an event when a dbt Cloud run ends.

    Define it in one module and import it from there: a Dag file with a second definition, without the
    watcher, removes the watcher whenever it is parsed.

    :param arguments: Those of ``DbtCloudRunEventTrigger``.
    """
    trigger = DbtCloudRunEventTrigger(asset=name, **arguments)
    return Asset(name, watchers=[AssetWatcher(name=name, trigger=trigger)])


def watched_model(model: str, **arguments: Any) -> Asset:
    """Return the asset of a model that also gets an event when a run started elsewhere has built it.

    :param model: As ``model_asset`` takes it.
    :param arguments: Those of ``DbtCloudRunEventTrigger``.
    """
    trigger = DbtCloudRunEventTrigger(asset=model, model=model, **arguments)
    return model_asset(model, watchers=[AssetWatcher(name=model, trigger=trigger)])


class DbtCloudRunEventTrigger(BaseEventTrigger):
    """Fire when runs of an account end; for the watcher of an asset.

    An event has the ``runs`` that one poll found. Each has ``run_id``, ``job_id``, ``job_name``, ``outcome``
    (success, error, cancelled or expired), ``message``, ``href``, ``cause``, ``git_sha``, and ``created_at``,
    ``started_at`` and ``finished_at`` in UTC. ``event_facts`` reads them.

    All watchers of a connection share one request per poll. A watcher skips the runs that ended before its
    first start, and fires at least once for every later run: the cursor in the asset's state store moves
    only after Airflow has stored the events. If the triggerer is killed in between, it fires again for the
    same runs, which Airflow cannot prevent; ``unhandled_runs`` skips them. A run is missed only if dbt Cloud
    lists it more than ten minutes after another run that ended later, or, with ``model``, if its artifact
    cannot be read for 30 minutes.

    :param asset: Name of the asset. Without it, Airflow would merge equal triggers of two assets.
    :param conn_id: ID of the dbt Cloud connection. Default: dbt_conn.
    :param job_ids: IDs of jobs; ``{{ var.value.<name> }}`` reads one from a variable. Default:
        all jobs of the account.
    :param outcomes: Outcomes of the runs to fire for. Default: all.
    :param include_own: Whether to fire also for runs that this Airflow started, and for retries of these in
        dbt Cloud. Default: False, because their tasks update assets themselves.
    :param model: Model, such as ``jaffle_shop.orders``, that the last step of a successful run must have
        built. Each run in the event then has the model's ``execution_time`` (seconds) and ``rows`` too.
        Reads one artifact per run, for all watchers together. Default: none.
    :param poll_interval: Seconds between two polls. Watchers with different intervals do not share polls.
        Default: 5.
    """

    def __init__(
        self,
        asset: str,
        conn_id: str = "dbt_conn",
        job_ids: Sequence[int | str] = (),
        outcomes: Sequence[str] = (),
        include_own: bool = False,
        model: str | None = None,
        poll_interval: float = 5,
    ) -> None:
        super().__init__()
        self.asset = asset
        self.conn_id = conn_id
        self.job_ids = job_ids
        self.outcomes = outcomes
        self.include_own = include_own
        self.model = model
        self.poll_interval = poll_interval
        if unknown := set(outcomes) - {*OUTCOMES.values(), "expired"}:
            raise ValueError(
                f"A dbt Cloud run has no outcome {', '.join(sorted(unknown))}: "
                "use success, error, cancelled or expired."
            )

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, from which the triggerer creates this trigger."""
        arguments = {
            "asset": self.asset,
            "conn_id": self.conn_id,
            "job_ids": list(self.job_ids),
            "outcomes": list(self.outcomes),
            "include_own": self.include_own,
            "model": self.model,
            "poll_interval": self.poll_interval,
        }
        return f"{type(self).__module__}.{type(self).__qualname__}", arguments

    def shared_stream_key(self) -> tuple[str, str, float]:
        """Return the key of the watchers that share their polls."""
        # With the class path: Airflow would let triggers of other classes join.
        return self.serialize()[0], self.conn_id, self.poll_interval

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> SharedStreamProducer:
        """Return the feed that polls for all watchers with the same key."""
        return RunFeed(DbtCloudHook(kwargs["conn_id"]), kwargs["poll_interval"])

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
        outage = Outage(f"the runs for the asset {self.asset!r} (job IDs: {self.job_ids or 'all'})")
        async for poll in shared_stream:
            # While this watcher was reading artifacts, newer polls have queued up behind this one.
            is_stale = time.monotonic() - poll.at > READ_TIMEOUT
            # The first start skips all runs that have ended, so it needs the complete list of them.
            if not is_stale and poll.since <= cursor.start and (saved or poll.is_complete):
                runs, advanced = cursor.advance(poll.runs)
                try:
                    # The feed caches what was read: after a timeout, the next poll goes on from there.
                    async with asyncio.timeout(READ_TIMEOUT):
                        matching = await self._select(runs, poll) if runs and saved else []
                except Exception as error:
                    outage.begin(error)
                else:
                    outage.end()
                    if matching:
                        # One event for all runs: if several events arrive at once, Airflow starts a Dag run
                        # for the first one, and leaves the others to the next event.
                        yield TriggerEvent({"runs": matching})
                    cursor = advanced
                    # Sometimes also without an event, so that the next start does not read far back.
                    if matching or saved is None or cursor.position - saved.position > OVERLAP:
                        poll.cursors.append((self.asset_state_store, cursor))
                        saved = cursor
            poll.next_since.append(cursor.start)

    async def _select(self, runs: list[JobRun], poll: Poll) -> list[dict[str, Any]]:
        """Return the facts of the runs that this watcher fires for."""
        job_ids = [_resolve(job_id) for job_id in self.job_ids]
        found = []
        for run in runs:
            if (
                (not job_ids or run.job_id in job_ids)
                and (not self.outcomes or run.outcome in self.outcomes)
                and (self.include_own or run.id not in poll.own_run_ids)
            ):
                built = await poll.built_models(run) if self.model else {}
                if self.model is None or self.model in built:
                    found.append(_facts(run) | built.get(self.model, {}))
        return found


def _resolve(job_id: int | str) -> int:
    variable = VARIABLE.fullmatch(str(job_id).strip())
    # Read the variable each time: it may have changed.
    return int(Variable.get(variable[1]) if variable else job_id)


def _facts(run: JobRun) -> dict[str, Any]:
    names = ("job_id", "job_name", "outcome", "href", "cause", "git_sha")
    times = ("created_at", "started_at", "finished_at")
    facts = {name: getattr(run, name) for name in (*names, *times)}
    return {"run_id": run.id, "message": run.summary} | facts

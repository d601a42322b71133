"""A triggerer for event triggers: Airflow's own shared streams, with a store and events in memory."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from airflow.triggers.shared_stream import SharedStreamManager

from include.dbt_cloud.run_events import DbtCloudRunEventTrigger
from tests.waiting import wait_until_async


@dataclass
class Database:
    """What survives a triggerer: the state of each asset, and the payloads of its events."""

    states: dict[str, Any] = field(default_factory=dict)
    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def run_ids(self, asset: str) -> list[int]:
        """Return the IDs of the runs in the events of an asset."""
        return [event["run_id"] for event in self.events.get(asset, [])]


@dataclass(eq=False)
class Store:
    """The state store of one asset, in the hands of one triggerer."""

    triggerer: "Triggerer"
    asset: str

    async def aget(self, key: str) -> Any:
        return self.triggerer.database.states.get(self.asset, {}).get(key)

    async def aset(self, key: str, value: Any) -> None:
        self.triggerer.writes.append(self.asset)
        if self.triggerer.is_alive:
            self.triggerer.database.states[self.asset] = {key: value}


class Triggerer:
    """Runs event triggers as Airflow does: each event is stored, and confirmed a moment later.

    :param survives: Called with ``store`` and ``confirm`` before each; False kills the triggerer.
    """

    def __init__(self, database: Database, survives: Callable[[str], bool] = lambda step: True) -> None:
        self.database = database
        self.survives = survives
        self.is_alive = True
        self.streams = SharedStreamManager()
        # The assets whose state was written, in order.
        self.writes: list[str] = []

    async def watch(self, trigger: DbtCloudRunEventTrigger) -> None:
        """Run a trigger until it is canceled."""
        # Recreated from what the database holds, as in a triggerer.
        _, arguments = trigger.serialize()
        trigger = type(trigger)(**arguments)
        trigger.asset_state_store = Store(self, trigger.asset)  # type: ignore[assignment]
        key, trigger_id = trigger.shared_stream_key(), id(trigger)
        stream = self.streams.subscribe(trigger_id=trigger_id, trigger=trigger, key=key)
        try:
            async for event in trigger.filter_shared_stream(stream):
                number = self.streams.bind_pending_event(trigger_id=trigger_id, key=key)
                asyncio.create_task(self._persist(trigger.asset, event.payload, number))  # noqa: RUF006
        finally:
            await self.streams.unsubscribe(trigger_id, key)

    async def _persist(self, asset: str, payload: Any, number: int | None) -> None:
        for step in ("store", "confirm"):
            await asyncio.sleep(0.01)
            self.is_alive = self.is_alive and self.survives(step)
            if not self.is_alive:
                return
            if step == "store":
                self.database.events.setdefault(asset, []).extend(payload["runs"])
            else:
                self.streams.confirm_persisted([] if number is None else [number])


@asynccontextmanager
async def triggerer(
    database: Database,
    *triggers: DbtCloudRunEventTrigger,
    survives: Callable[[str], bool] = lambda step: True,
) -> AsyncIterator[Triggerer]:
    """Run triggers while the block runs; then the triggerer is killed without a chance to save anything."""
    one = Triggerer(database, survives)
    tasks = [asyncio.create_task(one.watch(trigger)) for trigger in triggers]
    try:
        yield one
        for task in tasks:
            assert not task.done(), task.exception()
    finally:
        one.is_alive = False
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def started(database: Database, *assets: str) -> None:
    """Wait until the watchers of assets have their first cursor."""
    await wait_until_async(lambda: all(database.states.get(asset) for asset in assets))

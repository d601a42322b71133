"""Read the facts in the asset events that triggered a Dag run."""

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import Asset


def event_facts(events: Mapping[Asset, Sequence[Any]], asset: Asset) -> list[dict[str, Any]]:
    """Return the ``extra`` of each event of an asset, oldest first; Airflow does not sort them.

    The event of a watcher holds one or more runs: the facts of each run are returned.

    :param events: ``triggering_asset_events`` of the context.
    """
    facts: list[dict[str, Any]] = []
    for event in sorted(events.get(asset) or (), key=lambda event: event.timestamp):
        # Airflow stores what a watcher's trigger fired under this key; a manual event can hold anything.
        payload = event.extra.get("payload")
        facts += payload.get("runs", [payload]) if isinstance(payload, dict) else [event.extra]
    return facts

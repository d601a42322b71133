"""Read what the events tell that started a Dag run."""

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import Asset


def event_facts(events: Mapping[Asset, Sequence[Any]], asset: Asset) -> list[dict[str, Any]]:
    """Return the ``extra`` of each event of an asset, oldest first; Airflow does not sort them.

    Of the event of a watcher: the facts of each of its runs.

    :param events: ``triggering_asset_events`` of the context.
    """
    facts: list[dict[str, Any]] = []
    for event in sorted(events.get(asset) or (), key=lambda event: event.timestamp):
        # Airflow puts what a watcher's trigger fired under this key; a person may have written anything.
        payload = event.extra.get("payload")
        facts += payload.get("runs", [payload]) if isinstance(payload, dict) else [event.extra]
    return facts

"""Find the critical path of a dbt step: the chain of nodes that determined when it ended."""

import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

Parents = Mapping[str, Iterable[str]]


def critical_path(results: list[dict[str, Any]], parents: Parents | None = None) -> set[str]:
    """Return the ids of the node that ended last, of the last node that it waited for, and so on.

    With ``dbt build`` a model also waits for its own unit tests, and for the tests of the tables that it
    reads.

    :param results: The ``results`` of one run_results.json.
    :param parents: The ``parent_map`` of manifest.json. Without it dependencies are inferred from the
        compiled SQL, which names the tables of other nodes.
    """
    # An exposure is not built, and has no SQL that says what it waits for.
    ran = [_Node(result) for result in results if started_at(result) and result.get("status") != "no-op"]
    graph = _Graph(ran, parents)
    path, node = set(), max(ran, key=lambda node: node.end, default=None)
    # A node can end as it starts, and an incremental model reads itself: stop at a node seen before.
    while node and node.unique_id not in path:
        path.add(node.unique_id)
        node = max(graph.waited_for(node), key=lambda node: node.end, default=None)
    return path


def started_at(result: dict[str, Any]) -> str | None:
    """Return when a node started, in ISO 8601; None if it never did, or if dbt wrote no time."""
    timing = result.get("timing")
    parts = [part for part in timing if isinstance(part, dict)] if isinstance(timing, list) else []
    return min((time for part in parts if (time := part.get("started_at")) and _is_time(time)), default=None)


def execution_time(result: dict[str, Any]) -> float:
    """Return for how many seconds a node ran; 0 if dbt wrote no number."""
    seconds = result.get("execution_time")
    return float(seconds) if isinstance(seconds, int | float) and math.isfinite(seconds) else 0.0


def _is_time(value: Any) -> bool:
    try:
        datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return False
    return True


def ancestors(unique_id: str, parents: Parents, stop: Iterable[str] | None = None) -> set[str]:
    """Return all ancestors of a node; with ``stop`` only the nearest ones in ``stop``."""
    wanted = None if stop is None else set(stop)
    found: set[str] = set()
    seen, waiting = {unique_id}, [unique_id]
    while waiting:
        for parent in set(parents.get(waiting.pop()) or ()) - seen:
            seen.add(parent)
            if wanted is None or parent in wanted:
                found.add(parent)
            if wanted is None or parent not in wanted:
                waiting.append(parent)
    return found


class _Node:
    def __init__(self, result: dict[str, Any]) -> None:
        self.unique_id = result["unique_id"]
        kind, _, name = self.unique_id.split(".")[:3]
        self.kind, self.name = kind, name
        self.code = str(result.get("compiled_code") or "")
        self.start = datetime.fromisoformat(started_at(result) or "").timestamp()
        self.end = self.start + execution_time(result)
        table = result.get("relation_name")
        # Older dbt versions give no table for a seed: match its name. orders must not match orders_archive.
        pattern = re.escape(str(table)) if table else rf"\.\W?{re.escape(self.name)}"
        self.table = re.compile(rf"{pattern}(?!\w)") if table or self.kind == "seed" else None

    def is_unit_test_of(self, other: "_Node") -> bool:
        return (self.kind, other.kind) == ("unit_test", "model") and self.name == other.name


class _Graph:
    def __init__(self, ran: list[_Node], parents: Parents | None) -> None:
        self.ran = ran
        self.parents = parents
        self.ids = {node.unique_id for node in ran}
        # Cached by node, because searching the manifest is slow.
        self.above: dict[str, set[str]] = {}

    def reads(self, node: _Node, other: _Node) -> bool:
        if self.parents is not None:
            if node.unique_id not in self.above:
                # Also through nodes that do not run, such as ephemeral models.
                self.above[node.unique_id] = ancestors(node.unique_id, self.parents, self.ids)
            return other.unique_id in self.above[node.unique_id]
        return other.table is not None and other.table.search(node.code) is not None

    def waited_for(self, node: _Node) -> list[_Node]:
        before = [one for one in self.ran if one.end <= node.start]
        # A unit test reads no table: it waits for what its model reads.
        readers = [one for one in self.ran if node.is_unit_test_of(one)] or [node]
        parents = [one for one in before if any(self.reads(reader, one) for reader in readers)]
        if node.kind == "test":
            return parents
        tests = [
            one for one in before if one.kind == "test" and any(self.reads(one, parent) for parent in parents)
        ]
        return parents + tests + [one for one in before if one.is_unit_test_of(node)]

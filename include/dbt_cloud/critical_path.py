"""Finds the chain of nodes that a step of a dbt Cloud run waited for to its end: its critical path."""

import re
from datetime import datetime
from typing import Any


def critical_path(results: list[dict[str, Any]]) -> set[str]:
    """Return the ids of the node that ended last, of what that waited for last, and so on to the beginning.

    Who waits for whom is read off the SQL that dbt ran, which names the tables of other nodes. `dbt build`
    has a model wait for its own unit tests too, and for the tests of the tables that it reads.

    :param results: The ``results`` of one run_results.json.
    """
    ran = [_Node(result) for result in results if started_at(result)]
    path, node = set(), max(ran, key=lambda node: node.end, default=None)
    # A node that took no time can end as it begins, and an incremental model reads itself.
    while node and node.unique_id not in path:
        path.add(node.unique_id)
        node = max(_waited_for(node, ran), key=lambda node: node.end, default=None)
    return path


def started_at(result: dict[str, Any]) -> str | None:
    """Return when a node began, in ISO 8601; None if it never did."""
    return min(
        (part["started_at"] for part in result.get("timing") or [] if part.get("started_at")), default=None
    )


class _Node:
    def __init__(self, result: dict[str, Any]) -> None:
        self.unique_id = result["unique_id"]
        self.kind, _, self.name, *_ = self.unique_id.split(".")
        self.code = result.get("compiled_code") or ""
        self.start = datetime.fromisoformat(started_at(result)).timestamp()
        self.end = self.start + result["execution_time"]
        table = result.get("relation_name")
        # Of a seed dbt does not say the table, which has its name. And orders is not orders_archive.
        pattern = re.escape(table) if table else rf"\.\W?{re.escape(self.name)}"
        self.table = re.compile(rf"{pattern}(?!\w)") if table or self.kind == "seed" else None

    def reads(self, other: "_Node") -> bool:
        return other.table is not None and other.table.search(self.code) is not None

    def is_unit_test_of(self, other: "_Node") -> bool:
        return (self.kind, other.kind) == ("unit_test", "model") and self.name == other.name


def _waited_for(node: _Node, ran: list[_Node]) -> list[_Node]:
    before = [one for one in ran if one.end <= node.start]
    # A unit test reads no table, but is run when its model could be.
    readers = [one for one in ran if node.is_unit_test_of(one)] or [node]
    parents = [one for one in before if any(reader.reads(one) for reader in readers)]
    if node.kind == "test":
        return parents
    tests = [one for one in before if one.kind == "test" and any(one.reads(parent) for parent in parents)]
    return parents + tests + [one for one in before if one.is_unit_test_of(node)]

"""Find the critical path of a dbt step: the chain of nodes that determined when it ended."""

import re
from datetime import datetime
from typing import Any


def critical_path(results: list[dict[str, Any]]) -> set[str]:
    """Return the ids of the node that ended last, of the node that it waited for last, and so on.

    Dependencies are inferred from the compiled SQL, which names the tables of other nodes. With ``dbt
    build`` a model also waits for its own unit tests, and for the tests of the tables that it reads.

    :param results: The ``results`` of one run_results.json.
    """
    ran = [_Node(result) for result in results if started_at(result)]
    path, node = set(), max(ran, key=lambda node: node.end, default=None)
    # A node can end as it starts, and an incremental model reads itself: stop at a node seen before.
    while node and node.unique_id not in path:
        path.add(node.unique_id)
        node = max(_waited_for(node, ran), key=lambda node: node.end, default=None)
    return path


def started_at(result: dict[str, Any]) -> str | None:
    """Return when a node started, in ISO 8601; None if it never did."""
    return min(
        (part["started_at"] for part in result.get("timing") or [] if part.get("started_at")), default=None
    )


class _Node:
    def __init__(self, result: dict[str, Any]) -> None:
        self.unique_id = result["unique_id"]
        self.kind, _, self.name, *_ = self.unique_id.split(".")
        self.code = result.get("compiled_code") or ""
        self.start = datetime.fromisoformat(started_at(result) or "").timestamp()
        self.end = self.start + result["execution_time"]
        table = result.get("relation_name")
        # Older dbt versions give no table for a seed: match its name. orders must not match orders_archive.
        pattern = re.escape(table) if table else rf"\.\W?{re.escape(self.name)}"
        self.table = re.compile(rf"{pattern}(?!\w)") if table or self.kind == "seed" else None

    def reads(self, other: "_Node") -> bool:
        return other.table is not None and other.table.search(self.code) is not None

    def is_unit_test_of(self, other: "_Node") -> bool:
        return (self.kind, other.kind) == ("unit_test", "model") and self.name == other.name


def _waited_for(node: _Node, ran: list[_Node]) -> list[_Node]:
    before = [one for one in ran if one.end <= node.start]
    # A unit test reads no table; it starts when its model could.
    readers = [one for one in ran if node.is_unit_test_of(one)] or [node]
    parents = [one for one in before if any(reader.reads(one) for reader in readers)]
    if node.kind == "test":
        return parents
    tests = [one for one in before if one.kind == "test" and any(one.reads(parent) for parent in parents)]
    return parents + tests + [one for one in before if one.is_unit_test_of(node)]

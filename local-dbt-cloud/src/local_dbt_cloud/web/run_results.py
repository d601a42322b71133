"""Read the results of a finished run's dbt steps, as the results view shows them."""

import json
from collections import Counter
from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from typing import Any

from local_dbt_cloud.data_directory import DataDirectory
from local_dbt_cloud.database import Run

RESULTS = "run_results.json"
# Statuses that need attention, the most important first. Any other status is good.
RANKS = {"error": 0, "runtime error": 0, "fail": 0, "partial success": 0, "warn": 1, "skipped": 2}
GOOD = 3
# Commands that write run_results.json without building or testing anything.
NOT_BUILDING = ("compile", "generate", "list", "parse", "show")
MAX_TEXT = 2000


def has_results(data: DataDirectory, run: Run) -> bool:
    """Return whether a dbt step of the run left results."""
    return any(data.artifact(run.id, step.index, RESULTS) for step in run.run_steps)


def read_results(data: DataDirectory, run: Run) -> dict[str, Any]:
    """Return the nodes of a run, the most important first, their counts by status, and its sources."""
    nodes: list[dict[str, Any]] = []
    sources: list[dict[str, Any]] = []
    for step in run.run_steps:

        def read(path: str, index: int = step.index) -> dict[str, Any]:
            return _read_json(data.artifact(run.id, index, path))

        results = read(RESULTS)
        if results and results["args"].get("which") not in NOT_BUILDING:
            nodes += _nodes(results["results"], read("manifest.json"))
        sources += [_source(result) for result in read("sources.json").get("results", ())]
    nodes.sort(key=lambda node: (RANKS.get(node["status"], GOOD), -node["execution_time"]))
    counts = dict(Counter(node["status"] for node in nodes))
    return {
        "run_id": run.id, "nodes": nodes, "counts": counts, "left_out": 0, "sources": sources,
        "reason": "No node ran.",
    }  # fmt: skip


def _read_json(file: Path | None) -> dict[str, Any]:
    try:
        return json.loads(file.read_text(encoding="utf-8")) if file else {}
    except ValueError:
        # If dbt was killed, the file may be incomplete.
        return {}


def _nodes(results: list[dict[str, Any]], manifest: dict[str, Any]) -> list[dict[str, Any]]:
    parents = manifest.get("parent_map", {})
    failed = {result["unique_id"] for result in results if RANKS.get(result["status"]) == 0}
    nodes = []
    for result in results:
        node = _node(result, manifest)
        if node["status"] == "skipped" and (cause := _failed_ancestor(node["unique_id"], failed, parents)):
            node["skipped_by"] = cause
        nodes.append(node)
    for unique_id in _critical_path(nodes, parents):
        next(node for node in nodes if node["unique_id"] == unique_id)["critical"] = True
    return nodes


def _node(result: dict[str, Any], manifest: dict[str, Any]) -> dict[str, Any]:
    starts = [part["started_at"] for part in result.get("timing") or [] if part.get("started_at")]
    node: dict[str, Any] = {
        "unique_id": result["unique_id"],
        "name": _name(result["unique_id"], manifest),
        "status": result["status"],
        "thread_id": result.get("thread_id") or "",
        "execution_time": result.get("execution_time") or 0,
        "started_at": min(starts, default=None),
    }
    rows = result.get("failures")
    rows = rows if rows is not None else (result.get("adapter_response") or {}).get("rows_affected")
    if isinstance(rows, int) and rows >= 0:
        node["rows"] = rows
    if node["status"] in RANKS:
        node["message"] = (result.get("message") or "").strip()[:MAX_TEXT]
    if RANKS.get(node["status"]) == 0 and result.get("compiled_code"):
        node["sql"] = result["compiled_code"].strip()[:MAX_TEXT]
    return node


def _name(unique_id: str, manifest: dict[str, Any]) -> str:
    """Return a short name: ``unique orders.order_id`` for a test of a column."""
    kind, _, *names = unique_id.split(".")
    node = manifest.get("nodes", {}).get(unique_id, {})
    parents = manifest.get("parent_map", {}).get(unique_id)
    if node.get("test_metadata") and parents:
        # The table that it tests; a test of a source has no attached node.
        table = (node.get("attached_node") or parents[0]).split(".")[2:]
        column = [node["column_name"]] if node.get("column_name") else []
        return f"{node['test_metadata']['name']} {'.'.join(table + column)}"
    return ".".join(names[:1] if kind == "test" else names)


def _failed_ancestor(unique_id: str, failed: set[str], parents: dict[str, list[str]]) -> str | None:
    """Return the nearest failed ancestor, or a failed test of an ancestor."""
    waiting, seen = [unique_id], {unique_id}
    for current in waiting:
        for parent in parents.get(current, ()):
            if parent in failed:
                return parent
            if parent not in seen:
                seen.add(parent)
                waiting.append(parent)
    return next((test for test in sorted(failed) if seen.intersection(parents.get(test, ()))), None)


def _critical_path(nodes: list[dict[str, Any]], parents: dict[str, list[str]]) -> set[str]:
    """Return the node that ended last, the one that it waited for last, and so on."""
    spans = {
        node["unique_id"]: _span(node) for node in nodes if node["started_at"] and node["status"] != "no-op"
    }
    path: set[str] = set()
    current = max(spans, key=lambda one: spans[one][1], default=None)
    while current and current not in path:
        path.add(current)
        before = [one for one in spans if spans[one][1] <= spans[current][0]]
        waited_for = _waited_for(current, before, spans.keys(), parents)
        current = max(waited_for, key=lambda one: spans[one][1], default=None)
    return path


def _waited_for(
    unique_id: str, before: list[str], ran: Collection[str], parents: dict[str, list[str]]
) -> list[str]:
    """Return the nodes that a node waited for, among those that ended before it started.

    A model waits for the models that it reads and, with ``dbt build``, for their tests and its own unit
    tests. A unit test reads no tables: it starts as soon as its model could.
    """
    kind, _, name, *_ = unique_id.split(".")
    models = [one for one in ran if one.startswith("model.") and one.split(".")[2] == name]
    readers = models if kind == "unit_test" and models else [unique_id]
    above = {one for reader in readers for one in _nearest_ancestors(reader, ran, parents)}
    read = [one for one in before if one in above]
    if kind == "test":
        return read
    tests = [
        one for one in before
        if one.startswith("test.") and _nearest_ancestors(one, ran, parents).intersection(read)
    ]  # fmt: skip
    own = [
        one
        for one in before
        if kind == "model" and one.startswith("unit_test.") and one.split(".")[2] == name
    ]
    return read + tests + own


def _nearest_ancestors(unique_id: str, ran: Collection[str], parents: dict[str, list[str]]) -> set[str]:
    """Return the nearest ancestors that ran; ephemeral models, for example, do not."""
    found: set[str] = set()
    seen, waiting = {unique_id}, [unique_id]
    while waiting:
        for parent in set(parents.get(waiting.pop(), ())) - seen:
            seen.add(parent)
            if parent in ran:
                found.add(parent)
            else:
                waiting.append(parent)
    return found


def _span(node: dict[str, Any]) -> tuple[float, float]:
    start = datetime.fromisoformat(node["started_at"]).timestamp()
    return start, start + node["execution_time"]


def _source(result: dict[str, Any]) -> dict[str, Any]:
    return {
        "unique_id": result["unique_id"],
        "name": ".".join(result["unique_id"].split(".")[2:]),
        "status": result["status"],
        "age": result.get("max_loaded_at_time_ago_in_s"),
        "message": (result.get("error") or "")[:MAX_TEXT],
    }

"""Read the results of a run's nodes: a table for the log, JSON for an XCom."""

import json
from collections import Counter
from itertools import accumulate
from typing import Any

from tabulate import tabulate

from include.dbt_cloud.critical_path import critical_path, started_at
from include.dbt_cloud.exceptions import DbtCloudResponseError
from include.dbt_cloud.hook import DbtCloudHook
from include.dbt_cloud.job_run import JobRun

# Statuses that need attention, the most important first. Any other status is good.
RANKS = {"error": 0, "runtime error": 0, "fail": 0, "partial success": 0, "warn": 1, "skipped": 2}
GOOD = 3
MAX_GOOD_ROWS = 10
MAX_MESSAGE_LENGTH = 200
# Bytes that fit into an XCom of every database that Airflow supports.
MAX_NODES_SIZE = 48_000
# Commands that write run_results.json without building or testing anything.
NOT_BUILDING = ("compile", "generate", "list", "parse", "show")


def read_run_results(hook: DbtCloudHook, run: JobRun) -> dict[str, Any]:
    """Return the results of all dbt steps of a run that has ended.

    :param run: The run with its steps.
    :return: ``run_id``; ``href``, the run's page; ``counts``, nodes by status; ``seconds`` of all steps;
        ``nodes``, the most important first; ``left_out``, the number of nodes beyond the size limit. A node
        has dbt's ``unique_id``, ``status``, ``execution_time`` (seconds), ``thread_id`` and ``started_at``
        (ISO 8601 in UTC, or None), ``critical`` if it is on the critical path, and ``message`` if it is not
        good.
    :raises DbtCloudRequestError: dbt Cloud could not be reached. A step without results is no error.
    """
    nodes, seconds, seen = [], 0.0, set()
    for step in run.steps:
        results = _read_step(hook, run, step) if "dbt " in step["name"] else {}
        # A step can show the file of an earlier one.
        invocation = results.get("metadata", {}).get("invocation_id")
        if not results or invocation in seen or results.get("args", {}).get("which") in NOT_BUILDING:
            continue
        seen.add(invocation)
        seconds += results["elapsed_time"]
        path = critical_path(results["results"])
        nodes += [_node(result, result["unique_id"] in path) for result in results["results"]]
    nodes.sort(key=lambda node: (RANKS.get(node["status"], GOOD), -node["execution_time"]))
    counts = dict(Counter(node["status"] for node in nodes))
    sizes = accumulate(len(json.dumps(node)) + 2 for node in nodes)
    kept = [node for node, size in zip(nodes, sizes, strict=True) if size <= MAX_NODES_SIZE]
    facts = {"run_id": run.id, "href": run.href, "counts": counts, "seconds": round(seconds, 2)}
    return facts | {"nodes": kept, "left_out": len(nodes) - len(kept)}


def first_failed(results: dict[str, Any]) -> dict[str, Any] | None:
    """Return the most important node that failed, None if none did."""
    return next((node for node in results["nodes"][:1] if RANKS.get(node["status"]) == 0), None)


def format_results(results: dict[str, Any]) -> str:
    """Return the counts and an aligned table: all nodes that are not good, then the slowest of the others."""
    counts = ", ".join(f"{number} {status}" for status, number in results["counts"].items()) or "nothing"
    bad = sum(node["status"] in RANKS for node in results["nodes"])
    shown = results["nodes"][: bad + MAX_GOOD_ROWS]
    rows = [
        (node["status"], node["execution_time"], _name(node["unique_id"]), node.get("message", ""))
        for node in shown
    ]
    table = tabulate(rows, ("status", "seconds", "node", "message"), "plain", floatfmt=".2f")
    more = sum(results["counts"].values()) - len(shown)
    return f"{counts}, in {results['seconds']} seconds\n{table}" + (f"\nand {more} more" if more else "")


def _read_step(hook: DbtCloudHook, run: JobRun, step: dict[str, Any]) -> dict[str, Any]:
    where = {"run_id": run.id, "account_id": run.account_id, "step": step["index"]}
    try:
        return hook.get_job_run_artifact(path="run_results.json", **where).json()
    except DbtCloudResponseError as error:
        if error.status_code != 404:
            raise
        return {}


def _node(result: dict[str, Any], is_critical: bool) -> dict[str, Any]:
    node = {key: result[key] for key in ("unique_id", "status", "thread_id")}
    node |= {"execution_time": round(result["execution_time"], 3), "started_at": started_at(result)}
    if is_critical:
        node["critical"] = True
    if node["status"] in RANKS:
        first, *more = [line.strip() for line in (result["message"] or "").strip().splitlines()] or [""]
        if more and " Error in " in first:
            # The first line only names the node: "Database Error in model orders (models/orders.sql)".
            first = f"{first.split(' in ')[0]}: {more[0]}"
            # For a Python model the reason is the last line of a traceback.
            first += f" {more[-1]}" if first.endswith(":") else ""
        node["message"] = first[:MAX_MESSAGE_LENGTH]
    return node


def _name(unique_id: str) -> str:
    """Return ``model orders`` for ``model.jaffle_shop.orders``, without the digest that ends a test's id."""
    kind, _, *names = unique_id.split(".")
    return f"{kind} {'.'.join(names[:1] if kind == 'test' else names)}"

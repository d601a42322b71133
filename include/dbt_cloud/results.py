"""Read the results of a run: a table for the log, JSON for an XCom."""

import json
from collections import Counter
from collections.abc import Iterable
from itertools import accumulate
from typing import Any

from tabulate import tabulate

from include.dbt_cloud.artifacts import read_artifact, read_parents
from include.dbt_cloud.critical_path import Parents, ancestors, critical_path, execution_time, started_at
from include.dbt_cloud.hook import DbtCloudHook
from include.dbt_cloud.job_run import JobRun, to_iso
from include.dbt_cloud.node_names import short_names

# Statuses that need attention, the most important first. Any other status is good.
RANKS = {"error": 0, "runtime error": 0, "fail": 0, "partial success": 0, "warn": 1, "skipped": 2}
GOOD = 3
# dbt State reused an earlier result: nothing was built.
REUSED = 4
# Rows of the table in the log, which must fit on a screen.
MAX_ROWS = 30
MAX_GOOD_ROWS = 10
MAX_MESSAGE_LENGTH = 200
# Characters of compiled SQL: per failed node, and in total.
MAX_SQL_LENGTH = 2_000
MAX_SQL_SIZE = 20_000
# Bytes of the nodes and sources in an XCom: about 2,000 nodes. Airflow has no limit.
MAX_NODES_SIZE = 600_000
# The same limit in an asset event and in the task state store, which is meant for values below 64 KB.
MAX_COMPACT_SIZE = 48_000
MAX_SOURCES = 100
# Commands that write run_results.json without building or testing anything.
NOT_BUILDING = ("compile", "generate", "list", "parse", "show")
SECONDS = {"minute": 60, "hour": 3600, "day": 86400}


def read_run_results(hook: DbtCloudHook, run: JobRun) -> dict[str, Any]:
    """Return the results of all dbt steps of a run that has ended.

    :param run: The run with its steps.
    :return: What ``describe_run`` returns, and ``counts``, nodes by status; ``seconds`` of all steps;
        ``nodes``, the most important first; ``left_out``, the number of nodes beyond the size limit;
        ``sources``, the freshness of sources, the worst first; ``reason`` why no node ran, if none did.

        A node has dbt's ``unique_id``, ``status``, ``execution_time`` (seconds), ``thread_id`` and
        ``started_at`` (ISO 8601 in UTC, or None), a short ``name``, ``rows`` affected or failing if dbt
        counted them, ``critical`` if it is on the critical path, ``message`` if it is not good, ``sql`` if
        it failed, and ``skipped_by``, the id of the failed node that made dbt skip it.

        A source has ``unique_id``, ``name``, ``status`` (pass, warn, error or runtime error),
        ``max_loaded_at``, ``age`` (seconds) and ``limit``, the age (seconds) that is exceeded.
    :raises DbtCloudRequestError: dbt Cloud could not be reached. A step without results is no error.
    """
    nodes, sources, seconds = _read_steps(hook, run)
    names = short_names(node["unique_id"] for node in nodes)
    for node in nodes:
        node["name"] = names[node["unique_id"]]
    nodes.sort(key=lambda node: (_rank(node["status"]), -node["execution_time"]))
    _limit_sql(nodes)
    sources.sort(key=lambda source: (_rank(source["status"]), source["unique_id"]))
    results = describe_run(run) | {
        "counts": dict(Counter(node["status"] for node in nodes)),
        "seconds": round(seconds, 2),
        "nodes": nodes,
        "left_out": 0,
        "sources": sources[:MAX_SOURCES],
    }
    if not nodes:
        results["reason"] = _reason(run, sources)
    return limit_nodes(results, MAX_NODES_SIZE)


def read_nodes(artifact: Any) -> list[dict[str, Any]]:
    """Return the nodes in a run_results.json, as ``read_run_results`` describes them; none is critical."""
    return [_node(result, False) for result in _results(artifact)]


def _read_steps(hook: DbtCloudHook, run: JobRun) -> tuple[list[dict[str, Any]], list[dict[str, Any]], float]:
    """Return the nodes, the sources and the seconds of all dbt steps."""
    nodes: list[dict[str, Any]] = []
    sources: list[dict[str, Any]] = []
    seconds, seen = 0.0, set()
    for step in run.steps:
        if "dbt " not in step["name"]:
            continue
        if "freshness" in step["name"]:
            sources += [
                _source(result) for result in _results(read_artifact(hook, run, step, "sources.json"))
            ]
        results = read_artifact(hook, run, step, "run_results.json")
        # dbt Cloud can return the file of an earlier step.
        invocation = (results.get("metadata") or {}).get("invocation_id")
        which = (results.get("args") or {}).get("which")
        if (invocation and invocation in seen) or which in NOT_BUILDING:
            continue
        seen.add(invocation)
        seconds += results.get("elapsed_time") or 0
        nodes += _read_nodes(hook, run, step, _results(results))
    return nodes, sources, seconds


def describe_run(run: JobRun) -> dict[str, Any]:
    """Return ``run_id``, ``href``, ``outcome`` (None while it is active), and other facts about a run."""
    return {
        "run_id": run.id,
        "href": run.href,
        "outcome": run.outcome,
        "status_message": run.status_message[:MAX_MESSAGE_LENGTH],
        "job_id": run.job_id,
        "job": run.job_name,
        "environment": run.environment_name,
        "cause": run.cause,
        "git_branch": run.git_branch,
        "git_sha": run.git_sha,
        "created_at": to_iso(run.created_at),
        "started_at": run.started_at,
        "finished_at": run.finished_at,
    }


def limit_nodes(results: dict[str, Any], size: int = MAX_COMPACT_SIZE) -> dict[str, Any]:
    """Return the results with as many nodes, the most important first, as fit into a number of bytes.

    The sources count too; they take at most three quarters.
    """
    sources = _fitting(results["sources"], size * 3 // 4)
    kept = _fitting(results["nodes"], size - len(json.dumps(sources)))
    left_out = results["left_out"] + len(results["nodes"]) - len(kept)
    return results | {"nodes": kept, "left_out": left_out, "sources": sources}


def _fitting(items: list[dict[str, Any]], size: int) -> list[dict[str, Any]]:
    """Return the first items that fit into a number of bytes as JSON."""
    sizes = accumulate(len(json.dumps(item)) + 2 for item in items)
    return [item for item, total in zip(items, sizes, strict=True) if total <= size]


def first_failed(results: dict[str, Any]) -> dict[str, Any] | None:
    """Return the most important node that failed, None if none did."""
    return next((node for node in results["nodes"][:1] if RANKS.get(node["status"]) == 0), None)


def format_results(results: dict[str, Any]) -> str:
    """Return the results as text that fits on a screen: counts, failures first, and the link at the end."""
    link = f"See {results['href']}" if results.get("href") else ""
    sources = [source for source in results.get("sources", ()) if source["status"] != "pass"]
    counts = ", ".join(f"{number} {status}" for status, number in results["counts"].items())
    summary = (
        f"{counts}, in {results['seconds']} seconds" if counts else results.get("reason", "No node ran.")
    )
    lines = [summary, *_node_lines(results), *_source_lines(sources), link]
    return "\n".join(filter(None, lines))


def _node_lines(results: dict[str, Any]) -> list[str]:
    nodes = results["nodes"]
    skipped = [node for node in nodes if node["status"] == "skipped"]
    bad = [node for node in nodes if node["status"] in RANKS and node["status"] != "skipped"]
    good = [node for node in nodes if node["status"] not in RANKS]
    shown = (bad + good[:MAX_GOOD_ROWS])[:MAX_ROWS]
    rows = [
        (node["status"], node["execution_time"], _row_name(node), node.get("message", "")) for node in shown
    ]
    table = tabulate(rows, ("status", "seconds", "node", "message"), "plain", floatfmt=".2f")
    more = sum(results["counts"].values()) - len(shown) - len(skipped)
    return [
        table if rows else "",
        *_skipped_lines(skipped, {node["unique_id"]: node for node in nodes}),
        f"and {more} more" if more > 0 else "",
    ]


def _skipped_lines(skipped: list[dict[str, Any]], nodes: dict[str, dict[str, Any]]) -> list[str]:
    causes = Counter(node.get("skipped_by", "") for node in skipped)
    lines = []
    for cause, number in causes.most_common(5):
        name = _row_name(nodes[cause]) if cause in nodes else cause
        lines.append(f"{number} skipped" + (f" because of {name}" if name else ""))
    rest = sum(causes.values()) - sum(number for _, number in causes.most_common(5))
    return lines + ([f"{rest} skipped because of other nodes"] if rest else [])


def _source_lines(sources: list[dict[str, Any]]) -> list[str]:
    if not sources:
        return []
    rows = [
        (source["status"], source["name"], source.get("message") or f"last loaded {source['max_loaded_at']}")
        for source in sources[:MAX_GOOD_ROWS]
    ]
    table = tabulate(rows, ("status", "source", "freshness"), "plain")
    more = len(sources) - len(rows)
    return [table, f"and {more} more sources" if more else ""]


def _row_name(node: dict[str, Any]) -> str:
    """Return the kind and the short name of a node, such as ``model orders``."""
    kind, _, _ = node["unique_id"].partition(".")
    return f"{kind} {node.get('name') or node['unique_id']}"


def _rank(status: str) -> int:
    return REUSED if status == "reused" else RANKS.get(status, GOOD)


def _results(artifact: Any) -> list[dict[str, Any]]:
    """Return the results in an artifact. Any key can be missing: engines and versions differ."""
    found = artifact.get("results") if isinstance(artifact, dict) else None
    results = [result for result in found if isinstance(result, dict)] if isinstance(found, list) else []
    return [result for result in results if str(result.get("unique_id")).count(".") >= 2]


def _read_nodes(
    hook: DbtCloudHook, run: JobRun, step: dict[str, Any], results: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    parents = read_parents(hook, run, step) if _needs_manifest(results) else None
    path = critical_path(results, parents)
    nodes = [_node(result, result["unique_id"] in path) for result in results]
    failed = [node["unique_id"] for node in nodes if _rank(node["status"]) == 0]
    for node in nodes:
        if node["status"] == "skipped" and (cause := _cause(node["unique_id"], failed, parents)):
            node["skipped_by"] = cause
    return nodes


def _needs_manifest(results: list[dict[str, Any]]) -> bool:
    """Return whether only the manifest tells who depends on whom: a node was skipped, or has no SQL."""
    return any(
        result.get("status") == "skipped"
        or (_is_model(result) and started_at(result) and not result.get("compiled_code"))
        for result in results
    )


def _is_model(result: dict[str, Any]) -> bool:
    return result["unique_id"].startswith("model.")


def _cause(unique_id: str, failed: list[str], parents: Parents | None) -> str | None:
    """Return the id of a failed node that made dbt skip another one."""
    if parents is None:
        return None
    if nearest := ancestors(unique_id, parents, failed):
        return min(nearest)
    # A failed test makes dbt skip what depends on the nodes that it tests.
    above = ancestors(unique_id, parents)
    return next((test for test in failed if above.intersection(parents.get(test) or ())), None)


def _node(result: dict[str, Any], is_critical: bool) -> dict[str, Any]:
    node: dict[str, Any] = {
        "unique_id": result["unique_id"],
        "status": str(result.get("status") or "unknown"),
        "thread_id": result.get("thread_id") or "",
        "execution_time": round(execution_time(result), 3),
        "started_at": started_at(result),
    }
    if is_critical:
        node["critical"] = True
    response, rows = result.get("adapter_response"), result.get("failures")
    if rows is None and isinstance(response, dict):
        rows = response.get("rows_affected")
    if isinstance(rows, int) and rows >= 0:
        node["rows"] = rows
    if node["status"] in RANKS:
        node["message"] = _message(str(result.get("message") or ""))
    if _rank(node["status"]) == 0 and result.get("compiled_code"):
        node["sql"] = str(result["compiled_code"]).strip()[:MAX_SQL_LENGTH]
    return node


def _message(text: str) -> str:
    first, *more = [line.strip() for line in text.strip().splitlines()] or [""]
    if more and " Error in " in first:
        # The first line only names the node: "Database Error in model orders (models/orders.sql)".
        first = f"{first.split(' in ')[0]}: {more[0]}"
        # For a Python model the reason is the last line of a traceback.
        first += f" {more[-1]}" if first.endswith(":") else ""
    return first[:MAX_MESSAGE_LENGTH]


def _limit_sql(nodes: Iterable[dict[str, Any]]) -> None:
    size = 0
    for node in nodes:
        size += len(node.get("sql", ""))
        if size > MAX_SQL_SIZE:
            node.pop("sql", None)


def _source(result: dict[str, Any]) -> dict[str, Any]:
    status = result.get("status") or "unknown"
    source: dict[str, Any] = {
        "unique_id": result["unique_id"],
        "name": ".".join(result["unique_id"].split(".")[2:]),
        "status": status,
        "max_loaded_at": result.get("max_loaded_at"),
        "age": result.get("max_loaded_at_time_ago_in_s"),
    }
    criteria = (result.get("criteria") or {}).get(f"{status}_after") or {}
    if criteria.get("count") is not None and criteria.get("period") in SECONDS:
        source["limit"] = criteria["count"] * SECONDS[criteria["period"]]
    if status != "pass":
        source["message"] = _freshness_message(source, criteria, result.get("error"))
    return source


def _freshness_message(source: dict[str, Any], criteria: dict[str, Any], error: Any) -> str:
    if error:
        return _message(str(error))
    if source["age"] is None:
        return ""
    age = f"{source['age'] / 3600:.1f} hours old"
    if "limit" not in source:
        return age
    count, period = criteria["count"], criteria["period"]
    return f"{age}, {source['status']} after {count} {period}{'s' * (count != 1)}"


def _reason(run: JobRun, sources: list[dict[str, Any]]) -> str:
    """Return why no node ran."""
    dbt_steps = [step for step in run.steps if "dbt " in step["name"]]
    failed = next((step for step in run.steps if step.get("status") == 20), None)
    if failed:
        return f"No node ran: step {failed['index']} failed first: {failed['name']}."
    if not dbt_steps and run.outcome != "success":
        return "No node ran: the run ended before dbt started."
    if sources:
        return "No node ran: the run only checked the freshness of sources."
    if run.outcome != "success":
        return "No node ran, or the run left no results."
    return "No node ran: the steps of the job build nothing, or select no node."

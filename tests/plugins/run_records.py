"""Results of dbt runs as the operator pushes them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from include.dbt_cloud.node_names import short_names

BEGIN = datetime(2026, 1, 1, 12, tzinfo=UTC)


def node(
    name: str, status: str = "success", seconds: float = 1.5, start: float = 0, **more: Any
) -> dict[str, Any]:
    """Return the result of a node; ``name`` may be a unique id."""
    started = None if status in ("skipped", "reused") else (BEGIN + timedelta(seconds=start)).isoformat()
    return {
        "unique_id": name if "." in name else f"model.shop.{name}",
        "status": status,
        "thread_id": "Thread-1 (worker)",
        "execution_time": seconds,
        "started_at": started,
        **more,
    }


def results(
    run_id: int, nodes: list[dict[str, Any]], outcome: str = "success", **more: Any
) -> dict[str, Any]:
    """Return the results of a run with these nodes."""
    counts: dict[str, int] = {}
    for one in nodes:
        counts[one["status"]] = counts.get(one["status"], 0) + 1
    names = short_names(one["unique_id"] for one in nodes)
    return describe(run_id, outcome) | {
        "counts": counts,
        "seconds": 60.5,
        "nodes": [{"name": names[one["unique_id"]]} | one for one in nodes],
        "left_out": 0,
        "sources": [],
        "try_number": 1,
    } | more  # fmt: skip


def describe(run_id: int, outcome: str | None = None, began: datetime = BEGIN) -> dict[str, Any]:
    """Return the facts about a run without its nodes, as they are kept while it is active."""
    return {
        "run_id": run_id,
        "href": f"https://ab123.us1.dbt.com/deploy/1/projects/1/runs/{run_id}/",
        "outcome": outcome,
        "status_message": "",
        "job_id": 101,
        "job": "Build jaffle shop",
        "environment": "Production",
        "cause": "Triggered via Apache Airflow",
        "git_branch": "main",
        "git_sha": "4fd1a7c0b2e9",
        "created_at": began.isoformat(),
        "started_at": (began + timedelta(seconds=12)).isoformat() if outcome else None,
        "finished_at": (began + timedelta(seconds=90)).isoformat() if outcome else None,
        "try_number": 1,
    }

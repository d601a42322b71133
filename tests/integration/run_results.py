"""Build steps of runs, with the run_results.json that dbt writes, for ``LocalDbtCloud.create_run``."""

from typing import Any
from uuid import uuid4


def result(
    unique_id: str, status: str = "success", seconds: float = 1.0, message: str | None = "OK"
) -> dict[str, Any]:
    """Return the result of one node."""
    return {
        "unique_id": unique_id,
        "status": status,
        "execution_time": seconds,
        "thread_id": "Thread-1",
        "message": message,
        "timing": [
            {"name": "compile", "started_at": "2026-01-01T00:00:00Z", "completed_at": "2026-01-01T00:00:01Z"},
            {"name": "execute", "started_at": "2026-01-01T00:00:01Z", "completed_at": "2026-01-01T00:00:02Z"},
        ],
    }


def step(results: list[dict[str, Any]] | None, which: str = "build") -> dict[str, Any]:
    """Return a step with the results of a dbt invocation, or without run_results.json if they are None."""
    if results is None:
        return {"command": "dbt build"}
    content = {
        "metadata": {"invocation_id": str(uuid4())},
        "args": {"which": which},
        "elapsed_time": 2.5,
        "results": results,
    }
    return {"command": "dbt build", "artifacts": {"run_results.json": content}}

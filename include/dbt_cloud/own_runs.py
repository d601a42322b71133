"""Tells which runs of a job a task instance started itself: by the mark that it leaves in their cause."""

import hashlib
import json
from typing import Any

from airflow.providers.dbt.cloud.hooks.dbt import DBT_CAUSE_MAX_LENGTH

# Leaves room for a reason.
LONGEST_NAME = 140


def mark_of(ti: Any) -> str:
    """Return ``[airflow <Dag id>/<run id>/<task id>/<map index> #<generation>]``, at most 150 characters.

    All tries of a task instance share it. A clear begins another generation: ``max_tries`` grows on a clear,
    not on a retry. Where the name is too long, a digest of it stands for its end.
    """
    name = "/".join([ti.dag_id, ti.run_id, ti.task_id, *([str(ti.map_index)] if ti.map_index >= 0 else [])])
    name += f" #{ti.max_tries}"
    if len(name) > LONGEST_NAME:
        name = f"{name[: LONGEST_NAME - 17]}~{_digest(name)}"
    return f"[airflow {name}]"


def cause_with(mark: str, reason: str) -> str:
    """Return a cause with reason and mark, no longer than dbt Cloud takes; the mark is never cut.

    Where the reason is OpenLineage's JSON, whose readers parse the cause, the mark becomes a key of it, or a
    digest of the mark where that is too long.
    """
    try:
        lineage = json.loads(reason)
        parent = {"parent": lineage["parent"]}
        for facets, own in ((lineage, mark), (parent, mark), (parent, _digest(mark))):
            cause = json.dumps(facets | {"mark": own}, ensure_ascii=False, separators=(",", ":"))
            if len(cause) <= DBT_CAUSE_MAX_LENGTH:
                return cause
    except (ValueError, TypeError, KeyError):
        pass
    return f"{reason[: DBT_CAUSE_MAX_LENGTH - len(mark) - 1]} {mark}".lstrip()


def newest_own_run(runs: list[dict[str, Any]], mark: str, after: int = 0) -> dict[str, Any] | None:
    """Return the newest of some runs that has the mark, or goes on from the failure of one that has it.

    :param runs: Runs of one job, newest first, each with its ``trigger``.
    :param after: A run that is known to be its own, if any.
    """
    newest, own = None, {after} - {0}
    for run in reversed(runs):
        # A run that goes on from a failure has a cause of dbt Cloud's own.
        ids = {run["id"], run.get("retrying_run_id")} - {None}
        cause = (run.get("trigger") or {}).get("cause") or ""
        if mark in cause or _digest(mark) in cause or own & ids:
            newest, own = run, own | ids
    return newest


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]

"""Tag the runs of a task instance in their cause, and find them again among a job's runs."""

import hashlib
import json
from typing import Any

from airflow.providers.dbt.cloud.hooks.dbt import DBT_CAUSE_MAX_LENGTH

from include.dbt_cloud.job_run import JobRun

# Leaves room for a reason in the 255 characters of a cause.
MAX_NAME_LENGTH = 140


def run_tag(ti: Any) -> str:
    """Return ``[airflow <Dag id>/<run id>/<task id>/<map index> #<max_tries>]``, at most 150 characters.

    All tries of a task instance share it until somebody clears the task: a clear raises ``max_tries``, a
    retry does not. A name that is too long is cut, and ends in a digest.
    """
    name = "/".join([ti.dag_id, ti.run_id, ti.task_id, *([str(ti.map_index)] if ti.map_index >= 0 else [])])
    name += f" #{ti.max_tries}"
    if len(name) > MAX_NAME_LENGTH:
        name = f"{name[: MAX_NAME_LENGTH - 17]}~{_digest(name)}"
    return f"[airflow {name}]"


def tagged_cause(tag: str, reason: str) -> str:
    """Return a cause with a reason and a tag that fits into dbt Cloud's limit; only the reason is cut.

    OpenLineage's reason is JSON that others parse: there the tag becomes a key, or a digest of the tag if
    both are too long.
    """
    try:
        lineage = json.loads(reason)
        parent = {"parent": lineage["parent"]}
        for facets, value in ((lineage, tag), (parent, tag), (parent, _digest(tag))):
            cause = json.dumps(facets | {"tag": value}, ensure_ascii=False, separators=(",", ":"))
            if len(cause) <= DBT_CAUSE_MAX_LENGTH:
                return cause
    except (ValueError, TypeError, KeyError):
        pass
    return f"{reason[: DBT_CAUSE_MAX_LENGTH - len(tag) - 1]} {tag}".lstrip()


def is_tagged(cause: str) -> bool:
    """Return whether a cause has the tag of any task instance."""
    # The second one is OpenLineage's JSON, whose tag may be a digest.
    return "[airflow " in cause or (cause.startswith('{"') and '"tag":' in cause)


def find_tagged_run(runs: list[JobRun], tag: str, after: int = 0) -> JobRun | None:
    """Return the newest run that has the tag, or that retries a run which has it.

    :param runs: Runs of one job with their causes, newest first.
    :param after: ID of a run that is known to belong to the task instance, 0 if there is none.
    """
    newest, tagged = None, {after} - {0}
    for run in reversed(runs):
        # dbt Cloud gives a retry of a failed run a cause of its own.
        ids = {run.id, run.retrying_run_id or run.id}
        if tag in run.cause or _digest(tag) in run.cause or tagged & ids:
            newest, tagged = run, tagged | ids
    return newest


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]

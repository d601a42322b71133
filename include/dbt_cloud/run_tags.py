"""Tag the runs of a task instance in their cause, and find them again among a job's runs.

A tag is ``[airflow <deployment>-<instance>-<try>]``. The first part differs between Airflow deployments. The
second is the same for all tries of a task instance, also after a clear; the third differs between tries.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from airflow.providers.dbt.cloud.hooks.dbt import DBT_CAUSE_MAX_LENGTH
from airflow.sdk import Variable

from include.dbt_cloud.job_run import JobRun

DEPLOYMENT_VARIABLE = "dbt_cloud_deployment_id"
# Seconds to wait after the ID is stored, once per deployment.
SETTLE_TIME = 2


def deployment_id() -> str:
    """Return the random ID of this Airflow deployment; the first call stores it in an Airflow variable."""
    if not Variable.get(DEPLOYMENT_VARIABLE, default=None):
        description = "Distinguishes dbt Cloud runs of this deployment from those of other deployments."
        Variable.set(DEPLOYMENT_VARIABLE, uuid4().hex, description)
        # Another task may store its own ID at the same time: the ID that is stored last counts for both.
        time.sleep(SETTLE_TIME)
    return str(Variable.get(DEPLOYMENT_VARIABLE))


def digest(value: Any) -> str:
    """Return a short digest of a value that is equal only for equal values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:8]


def deployment_tag(deployment: str) -> str:
    """Return the common prefix of all tags of an Airflow deployment."""
    return f"[airflow {digest(deployment)}"


def instance_tag(ti: Any, deployment: str) -> str:
    """Return the common prefix of the tags of all tries of a task instance."""
    return f"{deployment_tag(deployment)}-{digest([ti.dag_id, ti.run_id, ti.task_id, ti.map_index])}"


def downstream_tags(context: Mapping[str, Any]) -> list[str]:
    """Return the instance tags of the tasks after a task in its Dag run, if they are not mapped."""
    ti, deployment = context["ti"], Variable.get(DEPLOYMENT_VARIABLE, default=None)
    # The first task that starts a run creates the variable.
    task_ids = context["task"].get_flat_relative_ids(upstream=False) if deployment else ()
    return [
        instance_tag(
            SimpleNamespace(dag_id=ti.dag_id, run_id=ti.run_id, task_id=task_id, map_index=-1), deployment
        )
        for task_id in task_ids
    ]


def run_tag(ti: Any, deployment: str) -> str:
    """Return the tag of the runs that this try starts; each try has its own ID."""
    return f"{instance_tag(ti, deployment)}-{str(ti.id)[-8:]}]"


def tagged_cause(ti: Any, tag: str, reason: str) -> str:
    """Return a cause that names the try for people and ends in its tag, within dbt Cloud's limit.

    With OpenLineage the reason is JSON, which its consumers parse: the tag becomes a key of it.
    """
    try:
        lineage = json.loads(reason)
        for facets in (lineage, {"parent": lineage["parent"]}):
            cause = json.dumps(facets | {"tag": tag}, ensure_ascii=False, separators=(",", ":"))
            if len(cause) <= DBT_CAUSE_MAX_LENGTH:
                return cause
    except (ValueError, TypeError, KeyError):
        pass
    index = f"[{ti.map_index}]" if ti.map_index >= 0 else ""
    text = f"{reason}: {ti.dag_id}, {ti.run_id}, {ti.task_id}{index}, try {ti.try_number}"
    return f"{text[: DBT_CAUSE_MAX_LENGTH - len(tag) - 1]} {tag}"


def find_tagged_run(runs: list[JobRun], tag: str, continued_run: int = 0) -> JobRun | None:
    """Return the newest run that has the tag, or that retries a run which has it.

    :param runs: Runs of one job with their causes.
    :param continued_run: ID of the failed run that the wanted one may retry, 0 if there is none.
    """
    newest, ids = None, {continued_run}
    for run in sorted(runs, key=lambda run: run.id):
        # dbt Cloud gives a retry of a failed run a different cause.
        if tag in run.cause or (run.retrying_run_id and run.retrying_run_id in ids):
            newest, ids = run, ids | {run.id}
    return newest

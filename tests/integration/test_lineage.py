"""OpenLineage events of the provider for the models that a real dbt has built, in a file."""

import json
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from local_dbt_cloud.testing import LocalDbtCloud

from include.dbt_cloud.operator import DbtCloudRunJobOperator

pytest.importorskip("airflow.providers.openlineage")
pytestmark = pytest.mark.end_to_end


def test_models_of_steps_that_replaced_the_jobs_are_in_the_lineage(
    cloud: LocalDbtCloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "lineage.jsonl"
    transport = {"type": "file", "log_file_path": str(file), "append": True}
    monkeypatch.setenv("AIRFLOW__OPENLINEAGE__TRANSPORT", json.dumps(transport))
    # The provider does not understand the second one, which has a dot.
    steps = ["dbt seed --select raw_stores", "dbt run --select path:models/staging/stg_stores.sql"]
    run = cloud.wait(cloud.trigger(101, steps_override=steps)["id"])
    assert run["is_success"]
    operator = DbtCloudRunJobOperator(task_id="trigger_job", dbt_cloud_conn_id="dbt_conn", job_id=101)
    operator.run_id = run["id"]

    operator.get_openlineage_facets_on_complete(task_instance())

    events = [json.loads(line) for line in file.read_text().splitlines()]
    assert {parent_of(event) for event in events} == {"a_dag.trigger_job"}
    outputs = {output["name"].rpartition(".")[2] for event in events for output in event["outputs"]}
    assert outputs == {"stg_stores"}
    # Of the environment: its project has no connection.
    namespaces = {output["namespace"] for event in events for output in event["outputs"]}
    assert namespaces == {"duckdb://jaffle_shop.duckdb"}


def parent_of(event: dict[str, Any]) -> str:
    return event["run"]["facets"]["parent"]["job"]["name"]


def task_instance() -> Any:
    """Return what the provider reads of a task instance."""
    now = datetime.now(UTC)
    dag_run = SimpleNamespace(
        dag_id="a_dag", run_id="a_run", logical_date=now, run_after=now, clear_number=0, conf={}
    )
    return SimpleNamespace(
        dag_id="a_dag", task_id="trigger_job", run_id="a_run", try_number=1, map_index=-1,
        logical_date=now, dag_run=dag_run, get_template_context=lambda: {"dag_run": dag_run},
    )  # fmt: skip

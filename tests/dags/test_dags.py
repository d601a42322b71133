"""The Dags: that they parse and follow the rules of the house, and are what the README says."""

import re
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowFailException

from tests.conftest import PROJECT

DAG_FILES = sorted((PROJECT / "dags").glob("*.py"))


@pytest.fixture(scope="module")
def dag_bag() -> DagBag:
    return DagBag(dag_folder=PROJECT / "dags")


@pytest.fixture(scope="module")
def dag(dag_bag: DagBag):
    return dag_bag.dags["check_before_running_dbt_cloud_job"]


def test_all_dag_files_import(dag_bag: DagBag) -> None:
    assert dag_bag.import_errors == {}
    assert {Path(dag.fileloc).stem for dag in dag_bag.dags.values()} == {path.stem for path in DAG_FILES}


def test_every_dag_follows_the_rules_of_the_house(dag_bag: DagBag) -> None:
    for dag in dag_bag.dags.values():
        assert dag.doc_md, f"{dag.dag_id} has no doc_md"
        assert dag.tags
        assert not dag.catchup
        for task in dag.tasks:
            assert task.owner != "airflow", f"{task.task_id} has no owner"
            assert task.execution_timeout, f"{task.task_id} may hang for ever"
            assert task.retries >= 2, f"{task.task_id} gives up at the first disturbance"


@pytest.mark.parametrize("path", DAG_FILES, ids=lambda path: path.stem)
def test_a_dag_file_is_short(path: Path) -> None:
    code = path.read_text().split('"""')[2]
    assert len(code.splitlines()) <= 60


def test_it_runs_daily_one_run_at_a_time(dag) -> None:
    assert dag.schedule == "@daily"
    assert dag.max_active_runs == 1


def test_the_check_comes_first_and_is_retried(dag) -> None:
    check = dag.get_task("check_job_is_not_running")
    assert check.downstream_task_ids == {"trigger_job"}
    assert check.retries == 2


def test_the_run_is_waited_for_without_a_worker_and_retried(dag) -> None:
    trigger = dag.get_task("trigger_job")
    assert trigger.deferrable
    assert trigger.execution_timeout > timedelta(0)
    assert trigger.retries == 2
    assert trigger.reuse_existing_run


def test_the_job_is_not_read_while_the_dag_is_parsed(dag) -> None:
    # There is no such variable in this Airflow, so that it parses at all says as much.
    assert dag.get_task("trigger_job").job_id == "{{ var.value.dbt_cloud_job_id }}"
    assert "job_id" in dag.get_task("trigger_job").template_fields


@pytest.mark.parametrize(
    "events",
    [{}, {Asset("dbt_cloud_job"): [SimpleNamespace(extra={"from_rest_api": True})]}],
    ids=["started by hand", "an event that a person made"],
)
def test_the_report_says_what_it_needs_if_no_results_came(dag_bag: DagBag, events: dict[Asset, Any]) -> None:
    report = dag_bag.dags["report_on_dbt_models"].get_task("report")
    with pytest.raises(AirflowFailException, match="No dbt results: they come with the asset"):
        report.python_callable(triggering_asset_events=events)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        *((text, True) for text in (
            "", " orders ", "orders+", "+orders", "2+orders+3", "@orders", "tag:nightly,+orders",
            "state:modified+", "stg_invoices+,stg_accounts+", "my_model?", "orders[1-3]",
            "path:models/marts *.sql", "a  b", "source:shop.orders+", "config.materialized:table",
        )),
        *((text, False) for text in (
            "--vars x", "orders --full-refresh", "orders; dbt run", "$(id)", "'orders'", "orders|cat",
            "a\nb", "-x",
        )),
    ],
)  # fmt: skip
def test_the_form_takes_what_dbt_takes(dag_bag: DagBag, text: str, is_one: bool) -> None:
    pattern = dag_bag.dags["run_selected_dbt_models"].params.get_param("select").schema["pattern"]
    # As JSON Schema's validators do.
    assert bool(re.search(pattern, text)) is is_one

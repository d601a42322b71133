"""The Dags parse, follow the rules in CONTRIBUTING.md, and pass valid parameters to dbt Cloud."""

import copy
import random
import re
import shlex
import string
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import Asset
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.exceptions import AirflowFailException, ParamValidationError

from include.dbt_cloud.alerts import WebhookNotifier
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


def test_every_dag_has_docs_an_owner_tags_retries_and_a_timeout(dag_bag: DagBag) -> None:
    for dag in dag_bag.dags.values():
        assert dag.doc_md, f"{dag.dag_id} has no doc_md"
        assert dag.tags
        assert not dag.catchup
        for task in dag.tasks:
            assert task.owner != "airflow", f"{task.task_id} has no owner"
            assert task.execution_timeout, f"{task.task_id} has no execution_timeout"
            assert task.retries is not None
            assert task.retries >= 2, f"{task.task_id} has no retries"


@pytest.mark.parametrize("path", DAG_FILES, ids=lambda path: path.stem)
def test_a_dag_file_is_short(path: Path) -> None:
    code = path.read_text().split('"""')[2]
    assert len(code.splitlines()) <= 60


def assets_of(dag: Any) -> list[Asset]:
    """Return the assets that a Dag is scheduled on, reads or updates, as its file defines them."""
    scheduled = getattr(dag.timetable, "asset_condition", None)
    found = list(scheduled.objects) if scheduled else []
    for task in dag.tasks:
        found += [*task.inlets, *task.outlets]
    return [one for one in found if isinstance(one, Asset)]


def test_an_asset_is_defined_with_the_same_watchers_everywhere(dag_bag: DagBag) -> None:
    # Otherwise each parse of a file without them removes the watchers.
    watchers: dict[str, set[tuple[str, ...]]] = {}
    for dag in dag_bag.dags.values():
        for asset in assets_of(dag):
            watchers.setdefault(asset.name, set()).add(tuple(one.name for one in asset.watchers))
    assert [name for name, variants in watchers.items() if len(variants) > 1] == []
    assert watchers["dbt_cloud_runs_started_elsewhere"] == {("dbt_cloud_runs_started_elsewhere",)}


def test_no_two_assets_share_a_trigger(dag_bag: DagBag) -> None:
    # Airflow would store one for both, and its state store would fail.
    assets = {asset.name: asset for dag in dag_bag.dags.values() for asset in assets_of(dag)}
    triggers = [str(one.trigger.serialize()) for asset in assets.values() for one in asset.watchers]
    assert len(set(triggers)) == len(triggers) > 0


def test_the_main_dag_has_one_run_at_a_time(dag) -> None:
    assert dag.max_active_runs == 1


def test_a_failure_and_a_late_end_are_reported(dag) -> None:
    for task in dag.tasks:
        assert [type(one) for one in task.on_failure_callback] == [WebhookNotifier]
    (deadline,) = dag.deadline
    assert deadline.interval == timedelta(hours=2)
    assert deadline.callback.path == "include.dbt_cloud.alerts.WebhookNotifier"


def test_the_check_comes_first_and_is_retried(dag) -> None:
    check = dag.get_task("check_job_is_not_running")
    assert check.downstream_task_ids == {"trigger_job"}
    assert check.retries == 2


def test_the_job_is_triggered_deferred_and_retried(dag) -> None:
    trigger = dag.get_task("trigger_job")
    assert trigger.deferrable
    assert trigger.execution_timeout > timedelta(0)
    assert trigger.retries == 2
    assert trigger.reuse_existing_run


def test_the_job_is_not_read_while_the_dag_is_parsed(dag) -> None:
    # Parsing succeeded although this Airflow does not have the variable.
    assert dag.get_task("trigger_job").job_id == "{{ var.value.dbt_cloud_job_id }}"
    assert "job_id" in dag.get_task("trigger_job").template_fields


@pytest.mark.parametrize(
    "events",
    [{}, {Asset("dbt_cloud_job"): [SimpleNamespace(extra={"from_rest_api": True}, timestamp=1)]}],
    ids=["started manually", "event created manually"],
)
def test_the_report_fails_if_the_asset_event_has_no_results(
    dag_bag: DagBag, events: dict[Asset, Any]
) -> None:
    report: Any = dag_bag.dags["report_on_dbt_models"].get_task("report")
    with pytest.raises(AirflowFailException, match="The asset event has no dbt results"):
        report.python_callable(triggering_asset_events=events)


def test_the_report_is_about_the_newest_run(dag_bag: DagBag) -> None:
    report: Any = dag_bag.dags["report_on_dbt_models"].get_task("report")
    # Airflow does not sort the events.
    events = [
        SimpleNamespace(
            timestamp=at, extra={"run_id": at, "nodes": [], "counts": {"success": at}, "seconds": 1}
        )
        for at in (5, 8, 2)
    ]
    assert report.python_callable({Asset("dbt_cloud_job"): events}) == {"success": 8}


@pytest.fixture
def form(dag_bag: DagBag) -> ParamsDict:
    return copy.deepcopy(dag_bag.dags["run_selected_dbt_models"].params)


def render(dag_bag: DagBag, params: dict[str, Any]) -> tuple[str, str | None]:
    """Return the dbt command and the schema for the parameters of a form."""
    dag = dag_bag.dags["run_selected_dbt_models"]
    task: Any = dag.get_task("run_models")
    fields = (task.steps_override, task.schema_override)
    (step,), schema = task.render_template(fields, {"params": params}, dag.get_template_env())
    return step, schema


@pytest.mark.parametrize(
    ("text", "is_valid"),
    [
        *((text, True) for text in (
            "", " orders ", "orders+", "+orders", "2+orders+3", "@orders", "tag:nightly,+orders",
            "state:modified+", "stg_invoices+,stg_accounts+", "my_model?", "orders[1-3]",
            "path:models/marts *.sql", "a  b", "source:shop.orders+", "config.materialized:table",
            None, "   ",
        )),
        *((text, False) for text in (
            "--vars x", "orders --full-refresh", "orders; dbt run", "$(id)", "'orders'", "orders|cat",
            "a\nb", "-x", "orders\n", "\n", "a\tb", "a,--vars", 'a"b', "a\\b", "`id`", "{{ 1 }}", "#a", "a=b",
        )),
    ],
)  # fmt: skip
@pytest.mark.parametrize("field", ["select", "exclude"])
def test_the_form_accepts_exactly_dbt_selectors(
    form: ParamsDict, field: str, text: str | None, is_valid: bool
) -> None:
    if is_valid:
        assert form.get_param(field).resolve(text) == text
        return
    with pytest.raises(ParamValidationError) as error:
        form.get_param(field).resolve(text)
    assert f"{text!r} is not one of ['dbt selectors separated by spaces or commas" in str(error.value)
    assert "pattern" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "is_valid"),
    [
        *((text, True) for text in (None, "", "  ", "trial", " _trial_2 ", "a" * 63)),
        *((text, False) for text in ("1st", "a b", "a-b", "a;b", "a\n", "a" * 64)),
    ],
)  # fmt: skip
def test_the_form_accepts_exactly_names_of_schemas(
    form: ParamsDict, text: str | None, is_valid: bool
) -> None:
    if is_valid:
        assert form.get_param("schema").resolve(text) == text
        return
    with pytest.raises(ParamValidationError, match=r"is not one of \['schema names of up to 63") as error:
        form.get_param("schema").resolve(text)
    assert "pattern" not in str(error.value)


@pytest.mark.parametrize("field", ["select", "exclude", "schema"])
def test_the_error_message_is_not_a_valid_value(form: ParamsDict, field: str) -> None:
    (message,) = form.get_param(field).schema["else"]["enum"]
    with pytest.raises(ParamValidationError):
        form.get_param(field).resolve(message)


@pytest.mark.parametrize("seed", range(20))
def test_accepted_selectors_are_passed_to_dbt_unchanged(dag_bag: DagBag, form: ParamsDict, seed: int) -> None:
    rng = random.Random(seed)
    # Mostly parts of selectors, so that some of the texts are accepted.
    parts = ["orders", "tag:", *"+@*[] ,.-2é", *(seed % 2 * string.punctuation)]
    for _ in range(100):
        text = "".join(rng.choices(parts, k=rng.randint(1, 6)))
        try:
            form.get_param("select").resolve(text)
        except ParamValidationError:
            continue
        step, _ = render(dag_bag, {"select": text, "exclude": None, "full_refresh": False, "schema": None})
        words = shlex.split(step)
        selectors = words[words.index("--select") + 1 :] if text.strip() else []
        assert selectors == text.split()
        assert not [word for word in selectors if word.startswith("-")]


@pytest.mark.parametrize("empty", [None, "", "   "])
def test_an_empty_or_blank_field_is_omitted(dag_bag: DagBag, empty: str | None) -> None:
    fields = {"select": empty, "exclude": empty, "full_refresh": False, "schema": empty}
    step, schema = render(dag_bag, fields)
    assert re.fullmatch(r"dbt build --indirect-selection buildable --warn-error-options '[^']+'", step)
    assert schema is None


def test_outer_spaces_of_a_field_are_removed(dag_bag: DagBag) -> None:
    fields = {"select": " a  b+ ", "exclude": " c ", "full_refresh": True, "schema": " trial "}
    step, schema = render(dag_bag, fields)
    assert step.endswith("}' --select a  b+ --exclude c --full-refresh")
    assert schema == "trial"

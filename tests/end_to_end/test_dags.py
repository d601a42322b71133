"""Every Dag as it stands, in a real Airflow with a real dbt."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import httpx
import psutil
import pytest
from local_dbt_cloud.testing import LocalDbtCloud
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from include.dbt_cloud.results import format_results
from scripts.airflow_api import AirflowApi
from scripts.dbt_cloud_api import DbtCloudApi
from scripts.processes import free_port
from scripts.progress import Progress
from scripts.settings import DAG_ID, Settings, read_settings
from scripts.stack import airflow, airflow_process, check_connection, local_dbt_cloud
from tests.browser import chromium, needs_chromium
from tests.waiting import wait_until

pytestmark = pytest.mark.end_to_end

REACT = "react_to_dbt_cloud_runs"
BUILD = (
    "dbt build --indirect-selection buildable "
    """--warn-error-options '{"error": ["NoNodesForSelectionCriteria"]}'"""
)


@dataclass
class Stack:
    """A local dbt Cloud and an Airflow that knows it, both up."""

    settings: Settings
    airflow: AirflowApi
    dbt_cloud: DbtCloudApi
    # To create runs that dbt never executes.
    control: LocalDbtCloud
    # OpenLineage events, one a line.
    lineage: Path

    def run(self, dag_id: str, conf: dict[str, Any] | None = None) -> str:
        """Run a Dag that must succeed; return the id of its run."""
        run_id = f"test_{os.urandom(4).hex()}"
        self.airflow.trigger_dag(dag_id, run_id, conf)
        self.succeeded(dag_id, run_id)
        return run_id

    def first_run(self, dag_id: str) -> str:
        """Wait for a run that Airflow starts by itself, and for its success; return its id."""
        wait_until(lambda: self.airflow.get_dag_runs(dag_id), 120)
        run_id = self.airflow.get_dag_runs(dag_id)[0]["dag_run_id"]
        self.succeeded(dag_id, run_id)
        return run_id

    def succeeded(self, dag_id: str, run_id: str) -> None:
        """Wait until a Dag run has succeeded."""
        wait_until(lambda: self.airflow.get_dag_run(dag_id, run_id)["state"] in ("success", "failed"), 300)
        states = {
            name: task["state"] for name, task in self.airflow.get_task_instances(dag_id, run_id).items()
        }
        assert set(states.values()) == {"success"}, states

    def state(self, dag_id: str, run_id: str, task_id: str) -> str | None:
        """Return the state of a task."""
        return self.airflow.get_task_instances(dag_id, run_id)[task_id]["state"]

    def get(self, path: str, **params: Any) -> Any:
        """Return what Airflow's API answers."""
        with httpx.Client(base_url=self.settings.airflow_url, timeout=30, trust_env=False) as client:
            token = client.get("/auth/token").raise_for_status().json()["access_token"]
            headers = {"Authorization": f"Bearer {token}"}
            return client.get(f"/api/v2/{path}", params=params, headers=headers).raise_for_status().json()

    def log(self, dag_id: str, run_id: str, task_id: str) -> list[str]:
        """Return the entries of the log of a task's first try."""
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/1"
        return [entry["event"] for entry in self.get(path, full_content=True)["content"]]

    def run_ids(self, dag_id: str) -> set[str]:
        """Return the ids of a Dag's runs."""
        return {run["dag_run_id"] for run in self.airflow.get_dag_runs(dag_id)}

    def reported_runs(self) -> list[int]:
        """Return the IDs of the dbt Cloud runs that react_to_dbt_cloud_runs reported."""
        reports = (self.xcom(REACT, run_id, "report") or {} for run_id in self.run_ids(REACT))
        return sorted(int(run_id) for report in reports for run_id in report)

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        return self.airflow.get_xcom(dag_id, run_id, task_id, key)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("stack")
    port = free_port()
    connection = {
        "conn_type": "dbt_cloud",
        "host": f"localhost:{port}",
        "login": "1",
        "password": "local-token",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AIRFLOW_PORT": free_port(),
            "LOCAL_DBT_CLOUD_API_PORT": port,
            "LOCAL_DBT_CLOUD_PAGES_PORT": free_port(),
            "LOCAL_DBT_CLOUD_DATA_DIR": directory / "data",
            "LOCAL_DBT_CLOUD_TOKEN": "local-token",
            "AIRFLOW_CONN_DBT_CONN": json.dumps(connection),
            "AIRFLOW_VAR_DBT_CLOUD_JOB_ID": "101",
            "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(
                {"type": "file", "log_file_path": str(directory / "lineage.jsonl"), "append": True}
            ),
        }.items():
            patch.setenv(name, str(value))
        settings, progress = read_settings(directory / "airflow"), Progress()
        with local_dbt_cloud(settings, progress), airflow(settings, progress, schedule=True) as api:
            # The main Dag is daily, and would run as soon as it is unpaused.
            for path in (Path(__file__).parents[2] / "dags").glob("*.py"):
                api.pause(path.stem, path.stem == DAG_ID)
            url = f"https://localhost:{settings.api_port}"
            control = LocalDbtCloud(url, settings.pages_url, settings.data_dir)
            lineage = directory / "lineage.jsonl"
            yield Stack(settings, api, check_connection(settings), control, lineage)


def test_the_form_as_it_stands_leaves_the_schema_alone(stack: Stack) -> None:
    run_id = stack.run("run_selected_dbt_models")
    dbt_run = stack.dbt_cloud.get_run(stack.xcom("run_selected_dbt_models", run_id, "run_models"))
    assert dbt_run["run_steps"][-1]["name"] == f"Invoke dbt with `{BUILD} --select +orders`"
    assert dbt_run["trigger"]["schema_override"] is None


def open_form(browser: Chrome, stack: Stack) -> None:
    """Open the form of run_selected_dbt_models in Airflow's UI."""
    browser.get(f"{stack.settings.airflow_url}/dags/run_selected_dbt_models")
    wait_until(lambda: find(browser, "[data-testid='trigger-dag-button']"), 60)
    find(browser, "[data-testid='trigger-dag-button']")[0].click()
    wait_until(lambda: find(browser, "#element_schema"), 60)


def find(browser: Chrome, css: str) -> list[Any]:
    return browser.find_elements(By.CSS_SELECTOR, css)


def fill(browser: Chrome, field: str, text: str) -> None:
    """Replace the text of a field, key by key as a user does."""
    (element,) = find(browser, f"#element_{field}")
    element.send_keys(Keys.CONTROL, "a")
    element.send_keys(Keys.DELETE, text)


def can_be_submitted(browser: Chrome) -> bool:
    (button,) = find(browser, "[data-testid='trigger-dag-submit']")
    return button.is_enabled()


def submit(browser: Chrome) -> None:
    wait_until(lambda: can_be_submitted(browser), 10)
    find(browser, "[data-testid='trigger-dag-submit']")[0].click()


@needs_chromium
def test_the_untouched_form_can_be_submitted(stack: Stack) -> None:
    dag_id = "run_selected_dbt_models"
    before = stack.run_ids(dag_id)
    with chromium() as browser:
        open_form(browser, stack)
        submit(browser)
        wait_until(lambda: stack.run_ids(dag_id) - before, 60)
    (run_id,) = stack.run_ids(dag_id) - before
    stack.succeeded(dag_id, run_id)
    dbt_run = stack.dbt_cloud.get_run(stack.xcom(dag_id, run_id, "run_models"))
    assert dbt_run["run_steps"][-1]["name"] == f"Invoke dbt with `{BUILD} --select +orders`"
    assert dbt_run["trigger"]["schema_override"] is None


@needs_chromium
def test_a_refused_selector_is_explained_in_the_form(stack: Stack) -> None:
    before = stack.run_ids("run_selected_dbt_models")
    with chromium() as browser:
        open_form(browser, stack)
        fill(browser, "select", "orders; dbt run")
        fill(browser, "exclude", "stores")
        # A field that was filled and cleared is as good as an untouched one.
        fill(browser, "exclude", "")
        submit(browser)
        sentence = "'orders; dbt run' is not one of ['dbt selectors separated by spaces or commas, such as"
        wait_until(lambda: sentence in page_text(browser), 30)
        assert "Invalid input for param select" in page_text(browser)
        assert "pattern" not in page_text(browser)
        # What was typed is still there to be corrected.
        assert find(browser, "#element_select")[0].get_attribute("value") == "orders; dbt run"
        assert can_be_submitted(browser)
    assert stack.run_ids("run_selected_dbt_models") == before


def page_text(browser: Chrome) -> str:
    return browser.find_element(By.TAG_NAME, "body").text


def test_a_blank_field_counts_as_empty(stack: Stack) -> None:
    run_id = stack.run("run_selected_dbt_models", {"select": "  ", "exclude": " ", "schema": "   "})
    dbt_run = stack.dbt_cloud.get_run(stack.xcom("run_selected_dbt_models", run_id, "run_models"))
    assert dbt_run["run_steps"][-1]["name"] == f"Invoke dbt with `{BUILD}`"
    assert dbt_run["trigger"]["schema_override"] is None


def test_other_work_goes_on_while_a_sensor_waits(stack: Stack) -> None:
    dag_id = "wait_for_dbt_cloud_job_with_sensor"
    run_id = stack.run(dag_id)
    path = Path(stack.xcom(dag_id, run_id, "get_run_results"))
    assert json.loads(path.read_text())["results"]
    path.unlink()
    dbt_run = stack.dbt_cloud.get_run(stack.xcom(dag_id, run_id, "trigger_job"))
    tasks = stack.airflow.get_task_instances(dag_id, run_id)
    assert tasks["trigger_job"]["end_date"] < tasks["wait_for_job"]["end_date"]
    assert dbt_run["status_humanized"] == "Success"


def test_the_form_chooses_what_is_built_and_where(stack: Stack) -> None:
    form = {"select": "+orders stg_products", "exclude": "stores test_type:unit", "schema": "trial"}
    run_id = stack.run("run_selected_dbt_models", form | {"full_refresh": True})
    dbt_run = stack.dbt_cloud.get_run(stack.xcom("run_selected_dbt_models", run_id, "run_models"))
    options = "--select +orders stg_products --exclude stores test_type:unit --full-refresh"
    assert dbt_run["run_steps"][-1]["name"] == f"Invoke dbt with `{BUILD} {options}`"
    assert dbt_run["trigger"]["schema_override"] == "trial"
    with duckdb.connect(str(stack.settings.data_dir / "jaffle_shop.duckdb"), read_only=True) as connection:
        assert connection.execute("select count(*) > 0 from trial.orders").fetchone() == (True,)


@pytest.mark.parametrize(
    "form",
    [
        {"select": "orders; dbt run"},
        {"select": "--vars x"},
        {"select": "orders $(id)"},
        {"exclude": "'a'"},
        {"schema": "1st"},
        {"full_refresh": "yes"},
    ],
    ids=str,
)
def test_the_form_refuses_what_is_not_a_selector(stack: Stack, form: dict[str, Any]) -> None:
    with pytest.raises(httpx.HTTPStatusError, match="400"):
        stack.airflow.trigger_dag("run_selected_dbt_models", "refused", form)


def test_a_model_that_dbt_does_not_know_is_an_error(stack: Stack) -> None:
    run_id = f"test_{os.urandom(4).hex()}"
    stack.airflow.trigger_dag("run_selected_dbt_models", run_id, {"select": "+orders no_such_model"})

    wait_until(lambda: stack.state("run_selected_dbt_models", run_id, "run_models") == "up_for_retry", 120)
    error = stack.airflow.get_task_error("run_selected_dbt_models", run_id, "run_models", 1)
    assert error.startswith("DbtCloudJobRunFailed")


def test_the_report_follows_a_run_of_the_job(stack: Stack) -> None:
    stack.airflow.pause(DAG_ID, False)
    run_id = stack.first_run(DAG_ID)
    results = stack.xcom(DAG_ID, run_id, "trigger_job", "run_results")
    assert results["counts"]["success"] > 16
    report = stack.first_run("report_on_dbt_models")
    assert stack.xcom("report_on_dbt_models", report, "report") == results["counts"]
    # The UI collapses groups: the table is the first entry outside of them.
    entries = stack.log("report_on_dbt_models", report, "report")
    assert format_results(results) in outside_of_groups(entries)[0]


def outside_of_groups(entries: list[str]) -> list[str]:
    """Return the entries of a log that Airflow's UI shows without a click."""
    depth, shown = 0, []
    for entry in entries:
        if entry.startswith("::group::"):
            depth += 1
        elif entry.startswith("::endgroup::"):
            depth -= 1
        elif not depth:
            shown.append(entry)
    return shown


@needs_chromium
def test_the_tab_shows_the_results_inside_airflow(stack: Stack) -> None:
    run_id = stack.first_run(DAG_ID)
    results = stack.xcom(DAG_ID, run_id, "trigger_job", "run_results")
    address = f"{stack.settings.airflow_url}/dags/{DAG_ID}/runs/{run_id}/tasks/trigger_job"
    with chromium() as browser:
        browser.get(address)
        wait_until(lambda: browser.find_elements(By.CSS_SELECTOR, "[href$='/plugin/dbt_results']"), 60)
        browser.find_element(By.CSS_SELECTOR, "[href$='/plugin/dbt_results']").click()
        wait_until(lambda: browser.find_elements(By.TAG_NAME, "iframe"), 60)
        browser.switch_to.frame(browser.find_element(By.TAG_NAME, "iframe"))
        wait_until(lambda: browser.find_elements(By.CSS_SELECTOR, "svg .bar"), 60)
        assert len(browser.find_elements(By.CSS_SELECTOR, "svg .bar")) > 80
        assert f"dbt Cloud run {results['run_id']}" in browser.find_element(By.TAG_NAME, "h1").text
        # The frame may not leave Airflow: the link opens a page of its own.
        browser.find_element(By.LINK_TEXT, "Open in dbt Cloud").click()
        wait_until(lambda: len(browser.window_handles) == 2, 30)
        browser.switch_to.window(browser.window_handles[1])
        wait_until(lambda: "Success" in browser.page_source, 30)
        assert browser.current_url == results["href"]


def test_models_that_a_run_built_start_what_depends_on_them(stack: Stack) -> None:
    stack.first_run(DAG_ID)
    run_id = stack.first_run("refresh_after_orders")
    built = stack.xcom("refresh_after_orders", run_id, "refresh")
    assert built == ["jaffle_shop.customers", "jaffle_shop.orders"]
    assert any(
        line.startswith("jaffle_shop.orders: built at 20")
        for line in stack.log("refresh_after_orders", run_id, "refresh")
    )


@pytest.mark.parametrize(
    ("dag_id", "task_id"), [(DAG_ID, "trigger_job"), ("run_selected_dbt_models", "run_models")]
)
def test_lineage_shows_the_job_and_its_models(stack: Stack, dag_id: str, task_id: str) -> None:
    stack.first_run(dag_id)
    events = [json.loads(line) for line in stack.lineage.read_text().splitlines()]
    of_task = [event for event in events if event["job"]["name"] == f"{dag_id}.{task_id}"]
    assert {"START", "COMPLETE"} <= {event["eventType"] for event in of_task}
    runs = {event["run"]["runId"] for event in of_task}
    children = [
        event
        for event in events
        if event["run"]["facets"].get("parent", {}).get("run", {}).get("runId") in runs
    ]
    outputs = {output["name"] for event in children for output in event["outputs"]}
    assert any(name.endswith("orders") for name in outputs), outputs


def test_each_job_has_a_mapped_task_with_its_name(stack: Stack) -> None:
    run_id = f"test_{os.urandom(4).hex()}"
    stack.airflow.trigger_dag("run_dbt_cloud_jobs", run_id)
    wait_until(lambda: stack.airflow.get_dag_run("run_dbt_cloud_jobs", run_id)["state"] == "success", 300)
    tasks = stack.get(f"dags/run_dbt_cloud_jobs/dagRuns/{run_id}/taskInstances")["task_instances"]
    assert {task["rendered_map_index"] for task in tasks} == {"Jaffle shop", "Customers"}
    events = stack.get("assets/events", source_run_id=run_id)["asset_events"]
    assert {event["name"] for event in events} == {"dbt_cloud_job", "dbt_cloud_job_customers"}


def test_runs_started_elsewhere_are_reported_once_and_own_runs_never(stack: Stack) -> None:
    by_api = stack.control.trigger(101, steps_override=["dbt seed --select raw_stores"])["id"]
    # As the button "Run now" does.
    page = httpx.post(f"{stack.settings.pages_url}/deploy/1/jobs/101/run/", trust_env=False)
    by_page = int(page.headers["location"].rstrip("/").rpartition("/")[2])
    other_job = stack.control.create_run("error", job_id=102)
    failed = stack.control.create_run("error", cause="Scheduled", status_message="dbt failed")
    expected = sorted([by_api, by_page, failed])
    wait_until(lambda: stack.reported_runs() == expected, 240)
    assert other_job not in stack.reported_runs()


def test_a_run_that_ended_while_the_triggerer_was_dead_is_reported_once(stack: Stack) -> None:
    before = stack.reported_runs()
    ours = psutil.Process().children(recursive=True)
    (triggerer,) = [process for process in ours if process.cmdline()[-1:] == ["triggerer"]]
    processes = [triggerer, *triggerer.children(recursive=True)]
    first = stack.control.create_run()
    for process in processes:
        process.kill()
    psutil.wait_procs(processes)
    second = stack.control.create_run("error")
    with airflow_process(stack.settings, "triggerer"), airflow_process(stack.settings, "triggerer"):
        wait_until(lambda: {first, second} <= set(stack.reported_runs()), 120)
        third = stack.control.create_run()
        wait_until(lambda: third in stack.reported_runs(), 120)
    assert stack.reported_runs() == sorted([*before, first, second, third])

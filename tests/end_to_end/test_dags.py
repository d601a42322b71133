"""Every Dag, unchanged, in a real Airflow with a real dbt."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import httpx
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
from scripts.stack import airflow, check_connection, local_dbt_cloud
from tests.browser import chromium, needs_chromium
from tests.waiting import wait_until
from tests.webhook import webhook

pytestmark = pytest.mark.end_to_end

FORM_DAG, SENSOR_DAG, REPORT_DAG = (
    "run_selected_dbt_models",
    "wait_for_dbt_cloud_job_with_sensor",
    "report_on_dbt_models",
)
REACT = "react_to_dbt_cloud_runs"
DAGS, TEST_DAGS = (Path(__file__).parents[2] / "dags", Path(__file__).parent / "dags")
BUILD = (
    "dbt build --indirect-selection buildable "
    """--warn-error-options '{"error": ["NoNodesForSelectionCriteria"]}'"""
)


@dataclass
class Stack:
    """A running Airflow, connected to a running local dbt Cloud."""

    settings: Settings
    airflow: AirflowApi
    dbt_cloud: DbtCloudApi
    # To create runs that dbt never executes.
    control: LocalDbtCloud
    # What the webhook of the connection dbt_alerts received.
    alerts: list[Any]
    # OpenLineage events of the Dags that enable them, one in a line.
    lineage: Path

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None) -> str:
        """Trigger a Dag run; return its ID."""
        run_id = f"test_{os.urandom(4).hex()}"
        self.airflow.trigger_dag(dag_id, run_id, conf)
        return run_id

    def wait_for_scheduled_run(self, dag_id: str) -> str:
        """Wait until the first run that Airflow schedules has succeeded; return its ID."""
        wait_until(lambda: self.airflow.get_dag_runs(dag_id), 120)
        run_id = self.airflow.get_dag_runs(dag_id)[0]["dag_run_id"]
        self.wait_for_success(dag_id, run_id)
        return run_id

    def run_main_dag(self) -> str:
        """Unpause the main Dag and wait until its first run has succeeded; return its ID."""
        self.airflow.pause(DAG_ID, False)
        # A copy may have scheduled it on an asset, which nothing updates here.
        on_asset = not self.get(f"dags/{DAG_ID}")["next_dagrun_run_after"]
        if on_asset and not self.airflow.get_dag_runs(DAG_ID):
            self.trigger(DAG_ID)
        return self.wait_for_scheduled_run(DAG_ID)

    def wait_for_success(self, dag_id: str, run_id: str) -> None:
        """Wait until a Dag run has ended; all its tasks must have succeeded."""
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
        return self._request("GET", path, params=params)

    def clear(self, dag_id: str, run_id: str) -> None:
        """Clear all tasks of a Dag run, as the button in Airflow's UI does."""
        fields = {"dry_run": False, "dag_run_id": run_id, "only_failed": False, "reset_dag_runs": True}
        self._request("POST", f"dags/{dag_id}/clearTaskInstances", json=fields)

    def _request(self, method: str, path: str, **more: Any) -> Any:
        with httpx.Client(base_url=self.settings.airflow_url, timeout=30, trust_env=False) as client:
            token = client.get("/auth/token").raise_for_status().json()["access_token"]
            headers = {"Authorization": f"Bearer {token}"}
            return (
                client.request(method, f"/api/v2/{path}", headers=headers, **more).raise_for_status().json()
            )

    def asset_event_names(self, run_id: str) -> set[str]:
        """Return the names of the assets that a Dag run updated; none if Airflow cannot tell.

        Airflow 3.3 answers with 500 as long as a Dag run that an event triggered is queued: it has no start.
        """
        with contextlib.suppress(httpx.HTTPStatusError):
            events = self.get("assets/events", source_run_id=run_id)["asset_events"]
            return {event["name"] for event in events}
        return set()

    def log(self, dag_id: str, run_id: str, task_id: str) -> list[str]:
        """Return the log entries of a task's first try."""
        return [entry["event"] for entry in self.airflow.get_log(dag_id, run_id, task_id, 1)]

    def run_ids(self, dag_id: str) -> set[str]:
        """Return the IDs of a Dag's runs."""
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
        }.items():
            patch.setenv(name, str(value))
        dags, lineage = directory / "dags", directory / "lineage.jsonl"
        for source in (DAGS, TEST_DAGS):
            shutil.copytree(source, dags, dirs_exist_ok=True)
        settings, progress = read_settings(directory / "airflow"), Progress()
        with webhook() as (webhook_connection, alerts), local_dbt_cloud(settings, progress):
            transport = {"type": "file", "log_file_path": str(lineage), "append": True}
            environment = {
                "AIRFLOW_CONN_DBT_ALERTS": webhook_connection,
                "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transport),
                "AIRFLOW__OPENLINEAGE__SELECTIVE_ENABLE": "True",
            }
            with airflow(settings, progress, schedule=True, dags=dags, environment=environment) as api:
                # The main Dag runs daily: it would start as soon as it is unpaused.
                for path in dags.glob("*.py"):
                    api.pause(path.stem, path.stem == DAG_ID)
                url = f"https://localhost:{settings.api_port}"
                control = LocalDbtCloud(url, settings.pages_url, settings.data_dir)
                yield Stack(settings, api, check_connection(settings), control, alerts, lineage)


@dataclass
class DbtRun:
    """The dbt run that a run of the form's Dag has started.

    :param command: dbt command of its last step.
    """

    command: str
    schema_override: str | None


def wait_for_dbt_run(stack: Stack, run_id: str) -> DbtRun:
    """Wait until a run of the form's Dag has succeeded; return its dbt run."""
    stack.wait_for_success(FORM_DAG, run_id)
    run = stack.dbt_cloud.get_run(stack.xcom(FORM_DAG, run_id, "run_models"))
    return DbtRun(run["run_steps"][-1]["name"], run["trigger"]["schema_override"])


@dataclass
class TriggeredRuns:
    """IDs of Dag runs that are triggered together, because each one waits for dbt."""

    default_form: str
    blank_form: str
    filled_form: str
    sensor: str


@pytest.fixture(scope="module")
def triggered(stack: Stack) -> TriggeredRuns:
    filled = {"select": "+orders stg_products", "exclude": "stores test_type:unit", "schema": "trial"}
    return TriggeredRuns(
        default_form=stack.trigger(FORM_DAG),
        blank_form=stack.trigger(FORM_DAG, {"select": "  ", "exclude": " ", "schema": "   "}),
        filled_form=stack.trigger(FORM_DAG, filled | {"full_refresh": True}),
        sensor=stack.trigger(SENSOR_DAG),
    )


def test_the_defaults_of_the_form_build_orders(stack: Stack, triggered: TriggeredRuns) -> None:
    dbt_run = wait_for_dbt_run(stack, triggered.default_form)
    assert dbt_run == DbtRun(f"Invoke dbt with `{BUILD} --select +orders`", None)


def test_a_blank_field_counts_as_empty(stack: Stack, triggered: TriggeredRuns) -> None:
    assert wait_for_dbt_run(stack, triggered.blank_form) == DbtRun(f"Invoke dbt with `{BUILD}`", None)


def test_the_form_selects_models_and_schema(stack: Stack, triggered: TriggeredRuns) -> None:
    options = "--select +orders stg_products --exclude stores test_type:unit --full-refresh"
    dbt_run = wait_for_dbt_run(stack, triggered.filled_form)
    assert dbt_run == DbtRun(f"Invoke dbt with `{BUILD} {options}`", "trial")
    # While another run builds, it locks the file.
    wait_until(lambda: not any(run["in_progress"] for run in stack.control.runs()), 120)
    with duckdb.connect(str(stack.settings.data_dir / "jaffle_shop.duckdb"), read_only=True) as connection:
        assert connection.execute("select count(*) > 0 from trial.orders").fetchone() == (True,)


def test_other_tasks_run_while_a_sensor_waits(stack: Stack, triggered: TriggeredRuns) -> None:
    stack.wait_for_success(SENSOR_DAG, triggered.sensor)
    path = Path(stack.xcom(SENSOR_DAG, triggered.sensor, "get_run_results"))
    assert json.loads(path.read_text())["results"]
    path.unlink()
    dbt_run = stack.dbt_cloud.get_run(stack.xcom(SENSOR_DAG, triggered.sensor, "trigger_job"))
    tasks = stack.airflow.get_task_instances(SENSOR_DAG, triggered.sensor)
    assert tasks["other_work"]["end_date"] < tasks["wait_for_job"]["end_date"]
    assert dbt_run["status_humanized"] == "Success"


def open_form(browser: Chrome, stack: Stack) -> None:
    """Open the form in Airflow's UI."""
    browser.get(f"{stack.settings.airflow_url}/dags/{FORM_DAG}")
    wait_until(lambda: find(browser, "[data-testid='trigger-dag-button']"), 60)
    find(browser, "[data-testid='trigger-dag-button']")[0].click()
    wait_until(lambda: find(browser, "#element_schema"), 60)


def find(browser: Chrome, css: str) -> list[Any]:
    return browser.find_elements(By.CSS_SELECTOR, css)


def fill(browser: Chrome, field: str, text: str) -> None:
    """Replace the text of a field with key presses."""
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
def test_the_form_can_be_submitted_without_changes(stack: Stack) -> None:
    before = stack.run_ids(FORM_DAG)
    with chromium() as browser:
        open_form(browser, stack)
        submit(browser)
        wait_until(lambda: stack.run_ids(FORM_DAG) - before, 60)
    (run_id,) = stack.run_ids(FORM_DAG) - before
    dbt_run = wait_for_dbt_run(stack, run_id)
    assert dbt_run == DbtRun(f"Invoke dbt with `{BUILD} --select +orders`", None)


@needs_chromium
def test_the_form_explains_an_invalid_selector(stack: Stack) -> None:
    before = stack.run_ids(FORM_DAG)
    with chromium() as browser:
        open_form(browser, stack)
        fill(browser, "select", "orders; dbt run")
        fill(browser, "exclude", "stores")
        # A field that was filled and cleared is valid.
        fill(browser, "exclude", "")
        submit(browser)
        message = "'orders; dbt run' is not one of ['dbt selectors separated by spaces or commas, such as"
        wait_until(lambda: message in page_text(browser), 30)
        assert "Invalid input for param select" in page_text(browser)
        assert "pattern" not in page_text(browser)
        # The user can correct the text.
        assert find(browser, "#element_select")[0].get_attribute("value") == "orders; dbt run"
        assert can_be_submitted(browser)
    assert stack.run_ids(FORM_DAG) == before


def page_text(browser: Chrome) -> str:
    return browser.find_element(By.TAG_NAME, "body").text


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
def test_invalid_parameters_are_rejected(stack: Stack, form: dict[str, Any]) -> None:
    with pytest.raises(httpx.HTTPStatusError, match="400"):
        stack.airflow.trigger_dag(FORM_DAG, "invalid", form)


def test_an_unknown_model_fails_the_task(stack: Stack) -> None:
    run_id = stack.trigger(FORM_DAG, {"select": "+orders no_such_model"})
    wait_until(lambda: stack.state(FORM_DAG, run_id, "run_models") == "failed", 240)
    # Read the last try: a busy scheduler may take a task that resumes early for a failed one and retry it.
    task = stack.airflow.get_task_instances(FORM_DAG, run_id)["run_models"]
    error = stack.airflow.get_task_error(FORM_DAG, run_id, "run_models", task["try_number"])
    assert error.startswith("DbtCloudJobRunRejected: The selection criterion 'no_such_model' does not match")


def test_a_run_of_the_job_triggers_the_report(stack: Stack) -> None:
    run_id = stack.run_main_dag()
    results = stack.xcom(DAG_ID, run_id, "trigger_job", "run_results")
    assert results["counts"]["success"] > 16
    report = stack.wait_for_scheduled_run(REPORT_DAG)
    assert stack.xcom(REPORT_DAG, report, "report") == results["counts"]
    # The UI collapses groups: the table must be the first entry outside of them.
    entries = stack.log(REPORT_DAG, report, "report")
    assert format_results(results) in outside_of_groups(entries)[0]


def outside_of_groups(entries: list[str]) -> list[str]:
    """Return the log entries that Airflow's UI shows without a click."""
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
def test_the_tab_shows_the_results_in_airflow(stack: Stack) -> None:
    run_id = stack.run_main_dag()
    results = stack.xcom(DAG_ID, run_id, "trigger_job", "run_results")
    address = f"{stack.settings.airflow_url}/dags/{DAG_ID}/runs/{run_id}/tasks/trigger_job"
    with chromium() as browser:
        browser.get(address)
        wait_until(lambda: browser.find_elements(By.CSS_SELECTOR, "[href$='/plugin/dbt_results']"), 60)
        browser.find_element(By.CSS_SELECTOR, "[href$='/plugin/dbt_results']").click()
        wait_until(lambda: browser.find_elements(By.TAG_NAME, "iframe"), 60)
        browser.switch_to.frame(browser.find_element(By.TAG_NAME, "iframe"))
        wait_until(lambda: find(browser, ".timeline .bar[data-index]"), 60)
        assert len(find(browser, ".timeline .bar[data-index]")) > 80
        assert f"dbt Cloud run {results['run_id']}" in browser.find_element(By.TAG_NAME, "h2").text
        assert "Build jaffle shop" in page_text(browser)
        # The frame cannot navigate away from Airflow: the link opens a new page.
        browser.find_element(By.LINK_TEXT, "Open in dbt Cloud").click()
        wait_until(lambda: len(browser.window_handles) == 2, 30)
        browser.switch_to.window(browser.window_handles[1])
        wait_until(lambda: "Success" in browser.page_source, 30)
        assert browser.current_url == results["href"]


def test_models_that_a_run_built_start_the_dag_that_depends_on_them(stack: Stack) -> None:
    stack.run_main_dag()
    run_id = stack.wait_for_scheduled_run("refresh_after_orders")
    built = stack.xcom("refresh_after_orders", run_id, "refresh")
    assert built == ["jaffle_shop.orders", "jaffle_shop.customers"]
    assert any(
        line.startswith("jaffle_shop.orders: built at 20")
        for line in stack.log("refresh_after_orders", run_id, "refresh")
    )


def test_each_job_has_a_mapped_task_with_its_name(stack: Stack) -> None:
    run_id = stack.trigger("run_dbt_cloud_jobs")
    wait_until(lambda: stack.airflow.get_dag_run("run_dbt_cloud_jobs", run_id)["state"] == "success", 300)
    tasks = stack.get(f"dags/run_dbt_cloud_jobs/dagRuns/{run_id}/taskInstances")["task_instances"]
    assert {task["rendered_map_index"] for task in tasks} == {"Jaffle shop", "Customers"}
    expected = {"dbt_cloud_job", "dbt_cloud_job_customers"}
    wait_until(lambda: stack.asset_event_names(run_id) == expected, 60)


def test_a_clear_of_the_whole_dag_run_replaces_its_active_run(stack: Stack) -> None:
    # The first success gives the next Dag run a deadline.
    stack.run_main_dag()
    before = len(stack.control.runs(101))
    stack.control.pause()
    run_id = stack.trigger(DAG_ID)
    wait_until(lambda: stack.state(DAG_ID, run_id, "trigger_job") == "deferred", 120)
    stack.clear(DAG_ID, run_id)
    wait_until(lambda: len(stack.control.runs(101)) == before + 2, 120)
    stack.control.resume()
    stack.wait_for_success(DAG_ID, run_id)
    runs = stack.control.runs(101)[before:]
    assert [run["status_humanized"] for run in runs] == ["Cancelled", "Success"]


def test_runs_started_elsewhere_are_reported_once_and_own_runs_never(stack: Stack) -> None:
    # The watcher skips runs that end before its first poll.
    wait_until(lambda: any("finished_at__range" in one["query"] for one in stack.control.requests()), 120)
    stack.control.pause()
    # As the button "Run now" does.
    page = httpx.post(f"{stack.settings.pages_url}/deploy/1/jobs/101/run/", trust_env=False)
    by_page = int(page.headers["location"].rstrip("/").rpartition("/")[2])
    stack.control.set_run(by_page, "success")
    stack.control.resume()
    by_api = stack.control.trigger(101, steps_override=["dbt seed --select raw_stores"])["id"]
    other_job = stack.control.create_run("error", job_id=102)
    failed = stack.control.create_run("error", cause="Scheduled", status_message="dbt failed")
    expected = sorted([by_api, by_page, failed])
    wait_until(lambda: stack.reported_runs() == expected, 240)
    assert other_job not in stack.reported_runs()


def test_a_missed_deadline_is_posted_and_built_models_are_in_the_lineage(stack: Stack) -> None:
    run_id = stack.trigger("late_with_lineage")
    stack.wait_for_success("late_with_lineage", run_id)
    wait_until(lambda: stack.alerts, 60)
    texts = [message["text"] for _, message in stack.alerts]
    assert [text.partition(" by ")[0] for text in texts] == ["late_with_lineage did not finish"]
    assert texts[0].endswith(f"Run: {run_id}")
    wait_until(lambda: stack.lineage.exists(), 60)
    events = [json.loads(line) for line in stack.lineage.read_text().splitlines()]
    outputs = {output["name"].rpartition(".")[2] for event in events for output in event["outputs"]}
    assert outputs == {"stg_stores"}


@needs_chromium
def test_the_history_of_a_dag_is_a_tab_in_airflow(stack: Stack) -> None:
    stack.run_main_dag()
    with chromium() as browser:
        browser.get(f"{stack.settings.airflow_url}/dags/{DAG_ID}")
        wait_until(lambda: find(browser, "[href$='/plugin/dbt_history']"), 60)
        find(browser, "[href$='/plugin/dbt_history']")[0].click()
        wait_until(lambda: find(browser, "iframe"), 60)
        browser.switch_to.frame(find(browser, "iframe")[0])
        wait_until(lambda: "Usual duration" in page_text(browser), 60)
        assert len(find(browser, ".chart .bar.success[height]")) >= 1

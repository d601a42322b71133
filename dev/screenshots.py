"""`make screenshots`: run the main Dag, also with a job that fails, and take pictures in a real browser.

The README shows three of them. The others show each state of the pages, to look at after a change.
"""

import dataclasses
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from scripts.airflow_api import AirflowApi
from scripts.cli import main
from scripts.demo import TRIGGER_TASK, Demo
from scripts.exceptions import UserError
from scripts.progress import Progress
from scripts.report import DagRunResult
from scripts.settings import DAG_ID, PROJECT, Settings
from scripts.stack import airflow, check_connection, local_dbt_cloud
from tests import browser

PICTURES = PROJECT / "docs" / "pictures"
# Small enough for git, and sufficient for a user interface.
COLORS = 256
WIDTH, HEIGHT = 1280, 720
PAGE_TIMEOUT = 60
TASK_TIMEOUT = 180
PHONE = 390
FAILING_JOB = "102"


def take_screenshots(settings: Settings, progress: Progress) -> None:
    """Start a stack in a temporary directory, run the Dag, and take the pictures.

    :raises UserError: Chromium is missing, the connection is not local, or the Dag run failed.
    """
    if not browser.IS_INSTALLED:
        raise UserError("Chromium or its chromedriver is not installed: install both.")
    if not settings.is_local:
        raise UserError("The pictures show the local dbt Cloud: remove AIRFLOW_CONN_DBT_CONN from .env.")
    with TemporaryDirectory() as name:
        directory = Path(name)
        settings = dataclasses.replace(
            settings, airflow_home=directory / "airflow", data_dir=directory / "dbt_cloud"
        )
        with local_dbt_cloud(settings, progress), airflow(settings, progress, schedule=False) as api:
            api.pause(DAG_ID, False)
            result = Demo(settings, api, check_connection(settings), progress).run_idle_job()
            with browser.chromium() as chromium, progress.status("Taking pictures"):
                camera = Camera(chromium, settings)
                camera.take_success(result)
                camera.take_failure(api)
    progress.done(f"Wrote {camera.number} pictures to {PICTURES.relative_to(PROJECT)}")


class Camera:
    """A browser that takes pictures of Airflow and the local dbt Cloud."""

    def __init__(self, chromium: Chrome, settings: Settings) -> None:
        self.chromium = chromium
        self.settings = settings
        self.number = 0
        browser.show(chromium, WIDTH, HEIGHT)
        chromium.get(settings.airflow_url)
        # Airflow's UI keeps the choice of the graph and the widths of its panels in the local storage.
        panels = {"details-panel,main-panel": {"expandToSizes": {}, "layout": [35, 65]}}
        choices = {"default_dag_view": "graph", "react-resizable-panels:graph-ltr": panels}
        for key, value in choices.items():
            chromium.execute_script("localStorage.setItem(...arguments)", key, json.dumps(value))

    def take_success(self, result: DagRunResult) -> None:
        """Take the graph of a Dag run, its results, and the pages of the dbt run and its job."""
        pages = f"{self.settings.pages_url}/deploy/1/projects/1"
        dbt_run = f"{pages}/runs/{result.dbt_run_id}/"
        self._take("graph", result.url, lambda: self._all(".react-flow__node"))
        self._take("dbt_results", self._tab(result.url), self._has_results)
        self._take("local_run", dbt_run, lambda: "Success" in self.chromium.page_source)
        self._take("local_job", f"{pages}/jobs/{self.settings.job_id}", lambda: self._all("duration-chart"))

    def take_failure(self, api: AirflowApi) -> None:
        """Run the job that fails; take the results while it runs, after it failed, and the Dag's history."""
        variable = {"variable_name": "dbt_cloud_job_id", "variable_value": FAILING_JOB}
        api.import_settings({"connections": [], "pools": [], "variables": [variable]})
        run_id = "screenshots_of_a_failure"
        api.trigger_dag(DAG_ID, run_id)
        dag = f"{self.settings.airflow_url}/dags/{DAG_ID}"
        tab = self._tab(f"{dag}/runs/{run_id}")
        _wait_for_state(api, run_id, "deferred")
        self._take("dbt_results_active", tab, lambda: self._in_frame(".now"))
        _wait_for_state(api, run_id, "up_for_retry")
        self._take("dbt_results_failed", tab, self._has_results)
        self._take("dbt_history", f"{dag}/plugin/dbt_history", lambda: self._in_frame(".chart"))
        browser.show(self.chromium, PHONE, HEIGHT, "dark")
        where = f"dag_id={DAG_ID}&run_id={run_id}&task_id={TRIGGER_TASK}"
        page = f"{self.settings.airflow_url}/dbt-results/task.html?{where}"
        self._take("dbt_results_phone", page, lambda: self._all(".timeline .bar"))

    def _take(self, name: str, url: str, is_ready: Callable[[], object]) -> None:
        self.chromium.get(url)
        waiting = WebDriverWait(self.chromium, PAGE_TIMEOUT, ignored_exceptions=[Exception])
        waiting.until(lambda _: is_ready())
        PICTURES.mkdir(parents=True, exist_ok=True)
        picture = Image.open(io.BytesIO(self.chromium.get_screenshot_as_png())).convert("RGB")
        picture.quantize(COLORS).save(PICTURES / f"{name}.png", optimize=True)
        self.number += 1

    def _tab(self, dag_run_url: str) -> str:
        return f"{dag_run_url}/tasks/{TRIGGER_TASK}/plugin/dbt_results"

    def _has_results(self) -> bool:
        return self._in_frame(".timeline .bar")

    def _in_frame(self, css: str) -> bool:
        self.chromium.switch_to.frame(self.chromium.find_element(By.TAG_NAME, "iframe"))
        try:
            return bool(self._all(css))
        finally:
            self.chromium.switch_to.default_content()

    def _all(self, css: str) -> list[WebElement]:
        return self.chromium.find_elements(By.CSS_SELECTOR, css)


def _wait_for_state(api: AirflowApi, run_id: str, state: str) -> None:
    deadline = time.monotonic() + TASK_TIMEOUT
    while (found := api.get_task_instances(DAG_ID, run_id)[TRIGGER_TASK]["state"]) != state:
        if time.monotonic() > deadline:
            raise UserError(f"The task {TRIGGER_TASK} should be {state}; it is {found}.")
        time.sleep(0.5)


if __name__ == "__main__":
    main("make screenshots", __doc__, take_screenshots)

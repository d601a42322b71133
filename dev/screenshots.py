"""`make screenshots`: run the main Dag once and take the README's pictures in a real browser."""

import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

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
                take_pictures(chromium, settings, result)
    progress.done(f"Wrote three pictures to {PICTURES.relative_to(PROJECT)}")


def take_pictures(chromium: Chrome, settings: Settings, result: DagRunResult) -> None:
    """Take the graph of the Dag run, the task's tab "dbt results", and the page of the dbt run."""
    browser.show(chromium, WIDTH, HEIGHT)
    chromium.get(settings.airflow_url)
    # Airflow's UI keeps the choice of the graph and the widths of its panels in the local storage.
    panels = {"details-panel,main-panel": {"expandToSizes": {}, "layout": [35, 65]}}
    for key, value in {"default_dag_view": "graph", "react-resizable-panels:graph-ltr": panels}.items():
        chromium.execute_script("localStorage.setItem(...arguments)", key, json.dumps(value))
    tab = f"{result.url}/tasks/{TRIGGER_TASK}/plugin/dbt_results"
    dbt_run = f"{settings.pages_url}/deploy/1/projects/1/runs/{result.dbt_run_id}/"
    _take(chromium, "graph", result.url, lambda: chromium.find_elements(By.CSS_SELECTOR, ".react-flow__node"))
    _take(chromium, "dbt_results", tab, lambda: _has_results(chromium))
    _take(chromium, "local_run", dbt_run, lambda: "Success" in chromium.page_source)


def _has_results(chromium: Chrome) -> bool:
    chromium.switch_to.frame(chromium.find_element(By.TAG_NAME, "iframe"))
    try:
        return bool(chromium.find_elements(By.CSS_SELECTOR, "svg .bar"))
    finally:
        chromium.switch_to.default_content()


def _take(chromium: Chrome, name: str, url: str, is_ready: Callable[[], object]) -> None:
    chromium.get(url)
    WebDriverWait(chromium, PAGE_TIMEOUT, ignored_exceptions=[Exception]).until(lambda _: is_ready())
    PICTURES.mkdir(parents=True, exist_ok=True)
    picture = Image.open(io.BytesIO(chromium.get_screenshot_as_png())).convert("RGB")
    picture.quantize(COLORS).save(PICTURES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main("make screenshots", __doc__, take_screenshots)

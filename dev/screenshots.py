"""`make screenshots`: runs the main Dag once, and takes the README's pictures of it in a real browser."""

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

from scripts.command import main
from scripts.demonstration import TRIGGER, Demonstration
from scripts.failure import Failure
from scripts.progress import Progress
from scripts.settings import DAG_ID, PROJECT, Settings
from scripts.stack import airflow, check_connection, local_dbt_cloud
from tests import browser

PICTURES = PROJECT / "docs" / "pictures"
# So few that a picture stays small in git, and enough for an interface.
COLORS = 256
WIDTH, HEIGHT = 1280, 720


def take(settings: Settings, progress: Progress) -> None:
    """Bring up a stack in a directory of its own, run the Dag, take the pictures, stop all.

    :raises Failure: there is no browser, or the Dag run did not come out as it must.
    """
    if not browser.IS_INSTALLED:
        raise Failure("There is no Chromium with its chromedriver: install both.")
    with TemporaryDirectory() as directory:
        place = Path(directory)
        settings = dataclasses.replace(settings, airflow_home=place / "airflow", data_dir=place / "dbt_cloud")
        if not settings.is_local:
            raise Failure("The pictures show the local dbt Cloud: take AIRFLOW_CONN_DBT_CONN out of .env.")
        with local_dbt_cloud(settings, progress), airflow(settings, progress, schedule=False) as api:
            api.pause(DAG_ID, False)
            demonstration = Demonstration(settings, api, check_connection(settings), progress)
            outcome = demonstration.idle_job_is_run()
            with browser.chromium() as chromium, progress.waiting("Taking pictures"):
                take_pictures(chromium, settings, outcome.dag_run_id, outcome.dbt_run_id)
        progress.done(f"Three pictures are in {PICTURES.relative_to(PROJECT)}")


def take_pictures(chromium: Chrome, settings: Settings, dag_run_id: str, dbt_run_id: int) -> None:
    """Take the Dag's graph, the tab of the task that ran dbt, and the run's page in the local dbt Cloud."""
    dag_run = f"{settings.airflow_url}/dags/{DAG_ID}/runs/{dag_run_id}"
    browser.show(chromium, WIDTH, HEIGHT)
    chromium.get(settings.airflow_url)
    # How wide the graph is beside the tab is kept where the choice of the graph is.
    panels = {"details-panel,main-panel": {"expandToSizes": {}, "layout": [35, 65]}}
    for key, value in {"default_dag_view": "graph", "react-resizable-panels:graph-ltr": panels}.items():
        chromium.execute_script("localStorage.setItem(...arguments)", key, json.dumps(value))
    _take(chromium, "graph", dag_run, lambda: chromium.find_elements(By.CSS_SELECTOR, ".react-flow__node"))
    _take(
        chromium,
        "dbt_results",
        f"{dag_run}/tasks/{TRIGGER}/plugin/dbt_results",
        lambda: _has_results(chromium),
    )
    run_page = f"http://localhost:{settings.pages_port}/deploy/1/projects/1/runs/{dbt_run_id}/"
    _take(chromium, "local_run", run_page, lambda: "Success" in chromium.page_source)


def _has_results(chromium: Chrome) -> bool:
    chromium.switch_to.frame(chromium.find_element(By.TAG_NAME, "iframe"))
    try:
        return bool(chromium.find_elements(By.CSS_SELECTOR, "svg .bar"))
    finally:
        chromium.switch_to.default_content()


def _take(chromium: Chrome, name: str, url: str, is_ready: Callable[[], object]) -> None:
    chromium.get(url)
    WebDriverWait(chromium, 60, ignored_exceptions=[Exception]).until(lambda _: is_ready())
    PICTURES.mkdir(parents=True, exist_ok=True)
    picture = Image.open(io.BytesIO(chromium.get_screenshot_as_png())).convert("RGB")
    picture.quantize(COLORS).save(PICTURES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main("make screenshots", __doc__, take)

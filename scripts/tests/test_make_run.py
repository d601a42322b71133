"""`make run` and `make start`, in a real Airflow: what they show, what they leave, and how they fail."""

import contextlib
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import httpx
import psutil
import pytest
from local_dbt_cloud.testing import serve

from scripts.processes import free_port
from scripts.settings import PROJECT

pytestmark = pytest.mark.end_to_end

TOKEN = "a-token-that-must-not-be-seen"


@dataclass
class Place:
    """Directories and ports of one stack, and the command that uses them."""

    airflow_home: Path
    data_dir: Path
    environment: dict[str, str]
    # All processes that the command was seen to start, also those that have ended.
    family: set[psutil.Process] = field(default_factory=set)

    def start(self, command: str = "run", **more: str) -> subprocess.Popen[bytes]:
        """Start `make run`, or `make start`; what it prints goes to a file."""
        with self.output.open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", f"scripts.{command}", "--airflow-home", str(self.airflow_home)],
                cwd=PROJECT, env=os.environ | {"COLUMNS": "200"} | self.environment | more,
                stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def run(self, **more: str) -> tuple[int, str]:
        """Run `make run` to its end; return its exit code and what it printed."""
        with self.start(**more) as process:
            try:
                self.watch(process, seconds=540)
            finally:
                process.terminate()
        return process.returncode, self.output.read_text()

    def watch(
        self, process: subprocess.Popen[bytes], seconds: float, until: Callable[[], bool] = lambda: False
    ) -> None:
        """Take note of what the command starts, until it ends or something holds."""
        end = time.monotonic() + seconds
        while process.poll() is None and not until():
            with contextlib.suppress(psutil.Error):
                self.family |= set(psutil.Process(process.pid).children(recursive=True))
            assert time.monotonic() < end, self.output.read_text()
            time.sleep(0.3)

    def cancel_run(self, run_id: int) -> bool:
        """Cancel a run as a person does; return whether it is there already."""
        api = f"https://localhost:{self.environment['LOCAL_DBT_CLOUD_API_PORT']}/api/v2/accounts/1"
        trusted = ssl.create_default_context(cafile=self.data_dir / "ca.pem")
        with contextlib.suppress(httpx.TransportError):
            headers = {"Authorization": f"Token {TOKEN}"}
            address = f"{api}/runs/{run_id}/cancel/"
            return httpx.post(address, headers=headers, verify=trusted, trust_env=False).is_success
        return False

    def left_running(self) -> list[psutil.Process]:
        """Return those of the family that have not ended; a zombie has."""
        return [one for one in self.family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]

    @property
    def output(self) -> Path:
        """What the last command printed."""
        return self.data_dir.with_name("output.txt")

    def connection(self, token: str) -> str:
        """Return the connection to this place's local dbt Cloud."""
        host = f"localhost:{self.environment['LOCAL_DBT_CLOUD_API_PORT']}"
        return json.dumps({"conn_type": "dbt_cloud", "host": host, "login": "1", "password": token})


def make_place(directory: Path) -> Place:
    """Choose free ports; set all that the project's own .env might set, for it may hold a real account."""
    ports = ("AIRFLOW_PORT", "LOCAL_DBT_CLOUD_API_PORT", "LOCAL_DBT_CLOUD_PAGES_PORT")
    place = Place(directory / "airflow", directory / "data", {name: str(free_port()) for name in ports})
    place.environment |= {
        "LOCAL_DBT_CLOUD_DATA_DIR": str(place.data_dir),
        "LOCAL_DBT_CLOUD_TOKEN": TOKEN,
        "AIRFLOW_CONN_DBT_CONN": place.connection(TOKEN),
        "AIRFLOW_VAR_DBT_CLOUD_JOB_ID": "101",
    }
    return place


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, int, str]:
    """A place where `make run` has run, its exit code, and what it printed."""
    place = make_place(tmp_path_factory.mktemp("make_run"))
    return place, *place.run()


def test_it_shows_both_outcomes_and_succeeds(finished: tuple[Place, int, str]) -> None:
    _, code, output = finished
    assert code == 0, output
    assert re.search(r"check_job_is_not_running +│ success +│ success", output)
    assert re.search(r"trigger_job +│ success +│ skipped", output)
    assert re.search(r"dbt run +│ 1, Success +│ 2, Success", output)
    assert re.search(r"built +│ \d\d models, \d\d tests,", output)


def test_the_pages_show_its_runs_and_there_are_no_more(finished: tuple[Place, int, str]) -> None:
    place, _, output = finished
    paths = re.findall(r"http://localhost:\d+(/deploy/\S+)", output)
    with serve(place.data_dir) as cloud:
        assert [run["id"] for run in cloud.get("runs/")] == [1, 2]
        assert [path.split("/")[-2] for path in paths] == ["1", "2"]
        for path, cause in zip(paths, ("Triggered via", "Started outside"), strict=True):
            page = httpx.get(cloud.pages_url + path, trust_env=False).text
            assert cause in page
            assert "Completed successfully" in page


def test_the_database_holds_the_marts_with_rows(finished: tuple[Place, int, str]) -> None:
    place, _, _ = finished
    with duckdb.connect(str(place.data_dir / "jaffle_shop.duckdb"), read_only=True) as connection:
        for mart in ("customers", "orders", "products", "stores", "daily_revenue"):
            ((count,),) = connection.execute(f"select count(*) from prod.{mart}").fetchall()
            assert count > 0, mart


def test_the_second_dag_run_says_which_run_was_active(finished: tuple[Place, int, str]) -> None:
    place, _, _ = finished
    log = (place.airflow_home / "standalone.log").read_text()
    assert re.search(r"Job 101 has an active run: run 2, \w+, created .*/deploy/1/projects/1/runs/2/", log)


def test_nothing_is_left_running(finished: tuple[Place, int, str]) -> None:
    place, _, _ = finished
    # The local dbt Cloud, Airflow, its four parts, and what they start themselves.
    assert len(place.family) > 10
    assert place.left_running() == []


def test_the_token_is_nowhere_to_be_seen(finished: tuple[Place, int, str]) -> None:
    place, _, output = finished
    assert TOKEN not in output
    for directory in (place.airflow_home, place.data_dir):
        for path in directory.rglob("*"):
            assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("side", ["LOCAL_DBT_CLOUD_TOKEN", "AIRFLOW_CONN_DBT_CONN"])
def test_a_token_that_differs_on_one_side_is_a_sentence_that_names_it(tmp_path: Path, side: str) -> None:
    place = make_place(tmp_path)
    changed = {
        "LOCAL_DBT_CLOUD_TOKEN": "another-token",
        "AIRFLOW_CONN_DBT_CONN": place.connection("another-token"),
    }
    code, output = place.run(**{side: changed[side]})
    assert code == 1
    assert "The local dbt Cloud refuses the API token of the connection dbt_conn" in output
    assert "Traceback" not in output
    assert TOKEN not in output
    assert place.left_running() == []


def test_a_task_that_fails_is_a_sentence_with_its_reason(finished: tuple[Place, int, str]) -> None:
    place, _, _ = finished
    with place.start() as process:
        try:
            # A run that a person cancels fails the task at once, a model that fails after its retries.
            place.watch(process, seconds=120, until=lambda: place.cancel_run(3))
            place.watch(process, seconds=120)
        finally:
            process.terminate()
    output = place.output.read_text()
    assert process.returncode == 1
    assert re.search(r"Task trigger_job of Dag run \S+ should be success but is failed", output)
    assert "trigger_job says: DbtCloudJobRunCancelled: Run 3 of dbt Cloud ended: Cancelled" in output
    assert str(place.airflow_home / "logs") in output
    assert place.left_running() == []


def test_ctrl_c_stops_what_was_started_also_when_it_is_pressed_twice(tmp_path: Path) -> None:
    place = make_place(tmp_path)
    with place.start() as process:
        # Airflow's scheduler keeps its workers ready: by then all parts have started.
        place.watch(process, seconds=120, until=lambda: len(place.family) > 10)
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.5)
        assert process.wait(timeout=60) == 130
    assert "nothing is left running" in place.output.read_text()
    assert place.left_running() == []


def test_make_start_stays_up_until_ctrl_c(tmp_path: Path) -> None:
    place = make_place(tmp_path)
    with place.start("start") as process:
        place.watch(process, seconds=120, until=lambda: "Ctrl-C stops" in place.output.read_text())
        links = re.findall(r"(?:Airflow|dbt Cloud) +(http://\S+)", place.output.read_text())
        assert len(links) == 2
        assert all(httpx.get(link, trust_env=False, follow_redirects=True).is_success for link in links)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    assert "nothing is left running" in place.output.read_text()
    assert place.left_running() == []

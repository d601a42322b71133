"""`make run` and `make start` in a real Airflow: output, cleanup, and errors."""

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
from dataclasses import dataclass, field, replace
from pathlib import Path

import duckdb
import httpx
import psutil
import pytest
from local_dbt_cloud.testing import serve

from scripts.exceptions import UserError
from scripts.lock import check_nothing_runs
from scripts.processes import free_port
from scripts.settings import PROJECT

pytestmark = pytest.mark.end_to_end

TOKEN = "a-token-that-must-not-be-seen"


@dataclass
class CommandRunner:
    """Runs `make run` and `make start` in temporary directories and on free ports."""

    airflow_home: Path
    data_dir: Path
    environment: dict[str, str]
    # All descendants of the command that were seen, also those that have exited.
    descendants: set[psutil.Process] = field(default_factory=set)

    def start(self, command: str = "run", **variables: str) -> subprocess.Popen[bytes]:
        """Start `make run` or `make start` with additional environment variables."""
        with self.output.open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", f"scripts.{command}", "--airflow-home", str(self.airflow_home)],
                cwd=PROJECT, env=os.environ | {"COLUMNS": "80"} | self.environment | variables,
                stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def run(self, **variables: str) -> tuple[int, str]:
        """Run `make run` to its end; return its exit code and output."""
        with self.start(**variables) as process:
            try:
                self.watch(process, timeout=540)
            finally:
                process.terminate()
        return process.returncode, self.output.read_text()

    def watch(
        self, process: subprocess.Popen[bytes], timeout: float, until: Callable[[], bool] = lambda: False
    ) -> None:
        """Record descendants of the command until it exits or a condition is true; fail after ``timeout``."""
        deadline = time.monotonic() + timeout
        while process.poll() is None and not until():
            with contextlib.suppress(psutil.Error):
                self.descendants |= set(psutil.Process(process.pid).children(recursive=True))
            assert time.monotonic() < deadline, self.output.read_text()
            time.sleep(0.3)

    def cancel_run(self, run_id: int) -> bool:
        """Cancel a dbt run as a user does; return whether it exists and was canceled."""
        api = f"https://localhost:{self.environment['LOCAL_DBT_CLOUD_API_PORT']}/api/v2/accounts/1"
        context = ssl.create_default_context(cafile=self.data_dir / "ca.pem")
        with contextlib.suppress(httpx.TransportError):
            headers = {"Authorization": f"Token {TOKEN}"}
            url = f"{api}/runs/{run_id}/cancel/"
            return httpx.post(url, headers=headers, verify=context, trust_env=False).is_success
        return False

    def running_descendants(self) -> list[psutil.Process]:
        """Return the descendants that have not exited; a zombie has."""
        return [one for one in self.descendants if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]

    @property
    def output(self) -> Path:
        """File with the output of the last command."""
        return self.data_dir.with_name("output.txt")

    def connection(self, token: str) -> str:
        """Return the connection to the local dbt Cloud as JSON."""
        host = f"localhost:{self.environment['LOCAL_DBT_CLOUD_API_PORT']}"
        return json.dumps({"conn_type": "dbt_cloud", "host": host, "login": "1", "password": token})


def create_runner(directory: Path) -> CommandRunner:
    """Return a runner that overrides all settings in the project's .env, which may have a real account."""
    ports = ("AIRFLOW_PORT", "LOCAL_DBT_CLOUD_API_PORT", "LOCAL_DBT_CLOUD_PAGES_PORT")
    environment = {name: str(free_port()) for name in ports}
    runner = CommandRunner(directory / "airflow", directory / "data", environment)
    runner.environment |= {
        "LOCAL_DBT_CLOUD_DATA_DIR": str(runner.data_dir),
        "LOCAL_DBT_CLOUD_TOKEN": TOKEN,
        "AIRFLOW_CONN_DBT_CONN": runner.connection(TOKEN),
        "AIRFLOW_VAR_DBT_CLOUD_JOB_ID": "101",
    }
    return runner


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[CommandRunner, int, str]:
    """A finished `make run`: its runner, exit code and output."""
    runner = create_runner(tmp_path_factory.mktemp("make_run"))
    return runner, *runner.run()


@pytest.fixture
def runner(finished: tuple[CommandRunner, int, str]) -> CommandRunner:
    """A runner in the directories of the finished `make run`: creating Airflow's database takes long."""
    return replace(finished[0], descendants=set())


def test_both_results_are_printed(finished: tuple[CommandRunner, int, str]) -> None:
    _, code, output = finished
    assert code == 0, output
    assert re.search(r"check_job_is_not_running +│ success +│ success", output)
    assert re.search(r"trigger_job +│ success +│ skipped", output)
    assert re.search(r"dbt run +│ 1, Success +│ 2, Success", output)
    assert re.search(r"built +│ \d\d models, +", output)


def test_the_table_fits_a_terminal_of_80_columns(finished: tuple[CommandRunner, int, str]) -> None:
    _, _, output = finished
    table = [line for line in output.splitlines() if line and line[0] in "┏┃┡│└"]
    assert len(table) > 8
    assert all(len(line) <= 80 for line in table)
    assert "…" not in output


def test_pages_show_exactly_the_printed_runs(finished: tuple[CommandRunner, int, str]) -> None:
    runner, _, output = finished
    paths = re.findall(r"http://localhost:\d+(/deploy/\S+)", output)
    with serve(runner.data_dir) as cloud:
        assert [run["id"] for run in cloud.get("runs/")] == [1, 2]
        assert [path.split("/")[-2] for path in paths] == ["1", "2"]
        for path, trigger in zip(paths, ("Triggered by Airflow", "Started outside"), strict=True):
            page = httpx.get(cloud.pages_url + path, trust_env=False).text
            assert trigger in page
            assert "Completed successfully" in page


def test_the_database_has_rows_in_every_mart(finished: tuple[CommandRunner, int, str]) -> None:
    runner, _, _ = finished
    with duckdb.connect(str(runner.data_dir / "jaffle_shop.duckdb"), read_only=True) as connection:
        for mart in ("customers", "orders", "products", "stores", "daily_revenue"):
            ((count,),) = connection.execute(f"select count(*) from prod.{mart}").fetchall()
            assert count > 0, mart


def test_the_second_dag_run_logs_the_active_run(finished: tuple[CommandRunner, int, str]) -> None:
    runner, _, _ = finished
    log = (runner.airflow_home / "standalone.log").read_text()
    assert re.search(
        r"Job 101 has an active run: run 2, \w+, created .*\. See http\S+/deploy/1/projects/1/runs/2/", log
    )


def test_no_process_is_left_running(finished: tuple[CommandRunner, int, str]) -> None:
    runner, _, _ = finished
    # The local dbt Cloud, Airflow, its four components, and their children.
    assert len(runner.descendants) > 10
    assert runner.running_descendants() == []


def test_the_token_is_in_no_file_and_not_printed(finished: tuple[CommandRunner, int, str]) -> None:
    runner, _, output = finished
    assert TOKEN not in output
    for directory in (runner.airflow_home, runner.data_dir):
        for path in directory.rglob("*"):
            assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("variable", ["LOCAL_DBT_CLOUD_TOKEN", "AIRFLOW_CONN_DBT_CONN"])
def test_error_of_different_tokens_names_the_connection(tmp_path: Path, variable: str) -> None:
    runner = create_runner(tmp_path)
    values = {
        "LOCAL_DBT_CLOUD_TOKEN": "another-token",
        "AIRFLOW_CONN_DBT_CONN": runner.connection("another-token"),
    }
    code, output = runner.run(**{variable: values[variable]})
    assert code == 1
    assert "The local dbt Cloud rejected the API token of the connection dbt_conn" in output
    assert "Traceback" not in output
    assert TOKEN not in output
    assert runner.running_descendants() == []


def test_error_of_a_failed_task_has_its_reason(runner: CommandRunner) -> None:
    with runner.start() as process:
        try:
            # A canceled run fails the task at once; a failed model would be retried.
            runner.watch(process, timeout=540, until=lambda: runner.cancel_run(3))
            runner.watch(process, timeout=540)
        finally:
            process.terminate()
    output = runner.output.read_text()
    assert process.returncode == 1
    assert re.search(r"Task trigger_job of Dag run \S+ is failed; expected success", output)
    error = r"DbtCloudJobRunCancelled: dbt Cloud run 3 ended: Cancelled"
    assert re.search(f"Error of trigger_job: {error}", output)
    assert str(runner.airflow_home / "logs") in output
    assert runner.running_descendants() == []


def test_a_second_ctrl_c_does_not_interrupt_the_cleanup(runner: CommandRunner) -> None:
    with runner.start() as process:
        # While Airflow starts; test_make_start_runs_until_ctrl_c ends one that has started.
        runner.watch(process, timeout=540, until=lambda: len(runner.descendants) > 3)
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.5)
        assert process.wait(timeout=60) == 130
    assert "All processes have ended" in runner.output.read_text()
    assert runner.running_descendants() == []


def check_second_start(runner: CommandRunner) -> None:
    """Assert that a second `make start` and `make clean` say where the running one is."""
    other = replace(runner, data_dir=runner.data_dir.with_name("other") / "data")
    other.data_dir.parent.mkdir()
    url = f"http://localhost:{runner.environment['AIRFLOW_PORT']}"
    message = f"make start already runs here, with Airflow at {url}: stop it with Ctrl-C first."
    with other.start("start") as process:
        assert process.wait(timeout=60) == 1
    assert f"make start failed: {message}" in other.output.read_text()
    with pytest.raises(UserError, match=re.escape(message)):
        check_nothing_runs(runner.airflow_home)


def test_make_start_runs_until_ctrl_c(runner: CommandRunner) -> None:
    with runner.start("start") as process:
        runner.watch(process, timeout=540, until=lambda: "Press Ctrl-C" in runner.output.read_text())
        links = re.findall(r"(?:Airflow|dbt Cloud) +(http://\S+)", runner.output.read_text())
        assert len(links) == 2
        check_second_start(runner)
        assert all(httpx.get(link, trust_env=False, follow_redirects=True).is_success for link in links)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    assert "All processes have ended" in runner.output.read_text()
    assert runner.running_descendants() == []

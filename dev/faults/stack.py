"""One Airflow and one local dbt Cloud for all scenarios, of which parts can be killed and started again."""

import contextlib
import json
import os
import sqlite3
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from threading import Lock

import httpx
import psutil
import yaml

from dev.faults.airflow_api import PersonsAirflowApi
from dev.faults.scenarios import SCENARIOS, VARIANTS
from local_dbt_cloud.data_directory import DataDirectory
from local_dbt_cloud.database import ACTIVE, humanized
from scripts.failure import Failure
from scripts.processes import free_port, running, wait_until
from scripts.settings import PROJECT, Connection, Settings
from scripts.stack import airflow_environment

HERE = Path(__file__).parent
TOKEN = "token-of-the-fault-matrix"


@dataclass(frozen=True)
class DbtRun:
    """A run as the local dbt Cloud has it; ``began`` tells one that was carried out from one in the queue."""

    id: int
    status: str
    active: bool
    began: bool


class Stack:
    """Both of them, up while ``up`` is entered."""

    def __init__(self, directory: Path) -> None:
        self.settings = settings_in(directory)
        self.data = DataDirectory(self.settings.data_dir)
        self.account_file = directory / "account.yaml"
        # Where the dbt project looks for how a job's runs are to end.
        self.ends = self.data.root / "ends"
        self.airflow_api = PersonsAirflowApi(self.settings.airflow_url)
        self.one_at_a_time = Lock()
        self._open = contextlib.ExitStack()
        self._log_numbers = count(1)

    @contextlib.contextmanager
    def up(self) -> Iterator["Stack"]:
        """Run both while the block runs.

        :raises Failure: one does not start, or a Dag file does not import; says why.
        """
        self.ends.mkdir(parents=True)
        self.account_file.write_text(yaml.safe_dump(_account()), encoding="utf-8")
        with self._open:
            self.start_dbt_cloud()
            self._start_airflow()
            yield self

    def start_dbt_cloud(self) -> None:
        """Start the local dbt Cloud, on its port and with what it has kept."""
        settings = self.settings
        self._dbt_cloud, log = self._start(
            "local_dbt_cloud", "--api-port", str(settings.api_port),
            "--pages-port", str(settings.pages_port), "--data-dir", str(settings.data_dir),
            "--account", str(self.account_file),
        )  # fmt: skip

        def answers() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(f"http://localhost:{settings.pages_port}/", trust_env=False).is_success
            return False

        wait_until(answers, "The local dbt Cloud", self._dbt_cloud, log, 120)
        self.dbt_cloud_api = httpx.Client(
            base_url=f"https://localhost:{settings.api_port}",
            headers={"Authorization": f"Token {TOKEN}"},
            verify=ssl.create_default_context(cafile=str(settings.ca_bundle)),
            trust_env=False,
            timeout=60,
        )

    def kill_dbt_cloud(self) -> None:
        """Kill the local dbt Cloud; its dbt processes end with it."""
        self._dbt_cloud.kill()
        self._dbt_cloud.wait()

    def start_triggerer(self) -> None:
        """Start another triggerer."""
        triggerer, _ = self._start("airflow", "triggerer")
        self._triggerer = psutil.Process(triggerer.pid)

    def kill_triggerer(self) -> None:
        """Kill the triggerer, with the process that runs the triggers."""
        for process in (self._triggerer, *self._triggerer.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def runs_of(self, job_id: int) -> list[DbtRun]:
        """Return a job's runs, oldest first: not through the API, whose faults are not for us."""
        query = "select id, status, started_at from runs where job_definition_id = ? order by id"
        with contextlib.closing(sqlite3.connect(self.data.state, timeout=30)) as connection:
            rows = connection.execute(query, [job_id]).fetchall()
        return [
            DbtRun(run_id, humanized(status), status in ACTIVE, started_at is not None)
            for run_id, status, started_at in rows
        ]

    def _start_airflow(self) -> None:
        process, log = self._start("airflow", "standalone")
        api, last = self.airflow_api, SCENARIOS[-1].dag_id(VARIANTS[-1])

        def knows_the_dags() -> bool:
            if errors := api.import_errors():
                raise Failure(f"A Dag file does not import: {errors[0]}")
            return api.get_dag(last) is not None

        wait_until(api.is_healthy, "Airflow", process, log, 240)
        api.log_in()
        wait_until(knows_the_dags, f"The Dag {last}", process, log, 120)
        parts = psutil.Process(process.pid).children()
        self._triggerer = next(part for part in parts if part.cmdline()[-1] == "triggerer")

    def _start(self, *command: str) -> tuple[subprocess.Popen[bytes], Path]:
        log = self.settings.airflow_home.parent / f"{command[0].split('.')[-1]}_{next(self._log_numbers)}.log"
        environment = airflow_environment(self.settings) | {
            "AIRFLOW__CORE__DAGS_FOLDER": str(HERE / "dags"),
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            # Some scenarios hold a worker while they wait.
            "AIRFLOW__CORE__PARALLELISM": "12",
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",
            # Soon seen: that a task was marked failed, that a triggerer is gone.
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
            "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "8",
        }
        process = running([sys.executable, "-m", *command], environment, PROJECT, log)
        return self._open.enter_context(process), log


def settings_in(directory: Path) -> Settings:
    """Return the settings of a stack in a directory, on free ports, apart from any other."""
    api_port = free_port()
    fields = {"conn_type": "dbt_cloud", "host": f"localhost:{api_port}", "login": "1", "password": TOKEN}
    others = ("AIRFLOW", "LOCAL_DBT_CLOUD_", "PYTHONDONTWRITEBYTECODE")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    return Settings(
        airflow_port=free_port(),
        api_port=api_port,
        pages_port=free_port(),
        airflow_home=directory / "airflow",
        data_dir=directory / "dbt_cloud",
        connection=Connection(fields["host"], "1", TOKEN, json.dumps(fields)),
        connection_is_from="the tests",
        job_id="",
        environment=environment | {"LOCAL_DBT_CLOUD_TOKEN": TOKEN},
    )


def _account() -> dict[str, object]:
    """A job for each scenario and variant, with a database of its own: DuckDB lets one process write."""
    jobs = [(one.job_id(variant), one.dag_id(variant)) for one in SCENARIOS for variant in VARIANTS]
    return {
        "account": {"id": 1, "name": "Faults", "run_slots": len(jobs)},
        "projects": [{"id": 1, "name": "Faults", "directory": str(HERE / "dbt_project")}],
        "environments": [
            {"id": number, "project_id": 1, "name": name, "database": f"{name}.duckdb", "schema": "prod"}
            for number, name in jobs
        ],
        "jobs": [
            {"id": number, "environment_id": number, "name": name, "execute_steps": ["dbt build"]}
            for number, name in jobs
        ],
    }

"""Run one Airflow and one local dbt Cloud for all trials, and kill and restart their processes."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Self

import psutil

from dev import temporary_stack
from dev.airflow_user_api import AirflowUserApi
from dev.faults.scenarios import EDITED_DAGS, SCENARIOS, VARIANTS
from scripts.stack import airflow_process

DIRECTORY = Path(__file__).parent
DAGS = DIRECTORY / "dags"
AIRFLOW_ENVIRONMENT = temporary_stack.AIRFLOW_ENVIRONMENT | {
    # Some tasks occupy a worker while they wait.
    "AIRFLOW__CORE__PARALLELISM": "12",
    # Detect sooner that a task was marked failed, and that a triggerer was killed.
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "8",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
    "AIRFLOW__SECRETS__BACKEND": "dev.faults.slow_secrets.SlowSecretsBackend",
    "AIRFLOW__WORKERS__SECRETS_BACKEND": "dev.faults.slow_secrets.SlowSecretsBackend",
    "AIRFLOW__CORE__XCOM_BACKEND": "dev.faults.xcom.FailingXCom",
}
# The cause of runs that no trial has started.
CAUSE_OF_OTHERS = "Started by others"


@dataclass(frozen=True)
class DbtRun:
    """A run in the local dbt Cloud.

    :param started: Whether it left the queue.
    """

    id: int
    status: str
    active: bool
    started: bool


class Stack:
    """Airflow and the local dbt Cloud. Their clients exist while ``start`` is entered."""

    dbt_cloud: temporary_stack.TemporaryDbtCloud
    airflow_api: AirflowUserApi

    def __init__(self, directory: Path) -> None:
        self.settings = temporary_stack.settings_in(directory)
        # The dbt model reads the outcome of a job's runs from a file in this directory.
        self.outcomes = self.settings.data_dir / "outcomes"
        self.airflow_lock = Lock()
        self._processes = contextlib.ExitStack()

    @contextlib.contextmanager
    def start(self) -> Iterator[Self]:
        """Run both while the block runs.

        :raises UserError: A service did not start, or a Dag file cannot be imported.
        """
        self.outcomes.mkdir(parents=True)
        last_dag = SCENARIOS[-1].dag_id(VARIANTS[-1])
        with self._processes:
            self.start_dbt_cloud()
            airflow = temporary_stack.airflow(self.settings, DAGS, last_dag, AIRFLOW_ENVIRONMENT)
            self._processes.enter_context(airflow)
            self.airflow_api = AirflowUserApi(self.settings.airflow_url)
            self.airflow_api.log_in()
            yield self

    def start_dbt_cloud(self) -> None:
        """Start the local dbt Cloud, also after it was killed: the port and the data stay the same."""
        jobs = {one.job_id(variant): one.dag_id(variant) for one in SCENARIOS for variant in VARIANTS}
        account = temporary_stack.account("Faults", DIRECTORY / "dbt_project", "dbt build", jobs)
        dbt_cloud = temporary_stack.local_dbt_cloud(self.settings, account)
        self.dbt_cloud = self._processes.enter_context(dbt_cloud)

    def kill_dbt_cloud(self) -> None:
        """Kill the local dbt Cloud; its dbt processes end with it."""
        self.dbt_cloud.process.kill()
        self.dbt_cloud.process.wait()

    def start_triggerer(self) -> None:
        """Start another triggerer."""
        triggerer = airflow_process(self.settings, "triggerer", DAGS, AIRFLOW_ENVIRONMENT)
        self._processes.enter_context(triggerer)

    def kill_triggerer(self) -> None:
        """Kill the triggerer and its child process, which runs the triggers."""
        for process in self._triggerers():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    @contextlib.contextmanager
    def frozen_triggerer(self) -> Iterator[None]:
        """Freeze the triggerer and its child process while the block runs."""
        with frozen(self._triggerers()):
            yield

    def _triggerers(self) -> list[psutil.Process]:
        found: list[psutil.Process] = []
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.cmdline()[-1:] == ["triggerer"]:
                    found += [process, *process.children(recursive=True)]
        return found

    def edit_dag(self, dag_id: str) -> None:
        """Edit the file of a Dag; Airflow has to parse it again."""
        path = self.settings.airflow_home / EDITED_DAGS / dag_id
        path.parent.mkdir(exist_ok=True)
        path.touch()

    def list_runs(self, job_id: int) -> list[DbtRun]:
        """Return a job's runs, oldest first, without those of others; not affected by injected faults."""
        return [
            DbtRun(run["id"], run["status_humanized"], run["in_progress"], run["started_at"] is not None)
            for run in self.dbt_cloud.runs(job_id)
            if run["trigger"]["cause"] != CAUSE_OF_OTHERS
        ]


@contextlib.contextmanager
def frozen(processes: list[psutil.Process]) -> Iterator[None]:
    """Freeze processes while the block runs, as a suspended machine does."""
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

"""Run one Airflow and one local dbt Cloud for all scenarios, and kill and restart parts of them."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import psutil

from dev import temporary_stack
from dev.faults.airflow_api import PersonsAirflowApi
from dev.faults.scenarios import SCENARIOS, VARIANTS
from scripts.stack import airflow_process

HERE = Path(__file__).parent
DAGS = HERE / "dags"
AIRFLOW_ENVIRONMENT = temporary_stack.AIRFLOW_ENVIRONMENT | {
    # Some scenarios occupy a worker while they wait.
    "AIRFLOW__CORE__PARALLELISM": "12",
    # Soon notice that a task was marked failed, and that a triggerer is gone.
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "8",
}


@dataclass(frozen=True)
class DbtRun:
    """A run in the local dbt Cloud; ``began`` is False for one that never left the queue."""

    id: int
    status: str
    active: bool
    began: bool


class Stack:
    """Airflow and the local dbt Cloud, both running while ``up`` is entered."""

    dbt_cloud: temporary_stack.TemporaryDbtCloud
    airflow_api: PersonsAirflowApi

    def __init__(self, directory: Path) -> None:
        self.settings = temporary_stack.settings_in(directory)
        # The dbt project looks here for how a job's runs are to end.
        self.ends = self.settings.data_dir / "ends"
        self.one_at_a_time = Lock()
        self._open = contextlib.ExitStack()

    @contextlib.contextmanager
    def up(self) -> Iterator["Stack"]:
        """Run both while the block runs.

        :raises Failure: One does not start, or a Dag file does not import; says why.
        """
        self.ends.mkdir(parents=True)
        last = SCENARIOS[-1].dag_id(VARIANTS[-1])
        with self._open:
            self.start_dbt_cloud()
            airflow = temporary_stack.airflow(self.settings, DAGS, last, AIRFLOW_ENVIRONMENT)
            self._open.enter_context(airflow)
            self.airflow_api = PersonsAirflowApi(self.settings.airflow_url)
            self.airflow_api.log_in()
            yield self

    def start_dbt_cloud(self) -> None:
        """Start the local dbt Cloud, on its port and with the data it has."""
        jobs = {one.job_id(variant): one.dag_id(variant) for one in SCENARIOS for variant in VARIANTS}
        account = temporary_stack.account("Faults", HERE / "dbt_project", "dbt build", jobs)
        dbt_cloud = temporary_stack.local_dbt_cloud(self.settings, account)
        self.dbt_cloud = self._open.enter_context(dbt_cloud)

    def kill_dbt_cloud(self) -> None:
        """Kill the local dbt Cloud; its dbt processes end with it."""
        self.dbt_cloud.process.kill()
        self.dbt_cloud.process.wait()

    def start_triggerer(self) -> None:
        """Start another triggerer."""
        self._open.enter_context(airflow_process(self.settings, "triggerer", DAGS, AIRFLOW_ENVIRONMENT))

    def kill_triggerer(self) -> None:
        """Kill the triggerer, with the process that runs the triggers."""
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.cmdline()[-1:] == ["triggerer"]:
                    for one in (process, *process.children(recursive=True)):
                        one.kill()

    def runs_of(self, job_id: int) -> list[DbtRun]:
        """Return a job's runs, oldest first; injected faults do not apply."""
        return [
            DbtRun(run["id"], run["status_humanized"], run["in_progress"], run["started_at"] is not None)
            for run in self.dbt_cloud.runs(job_id)
        ]

"""A real Airflow with Dags of the benchmark's own."""

import contextlib
import json
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from scripts.airflow_api import AirflowApi
from scripts.failure import Failure
from scripts.processes import running, wait_until
from scripts.settings import PROJECT, Settings
from scripts.stack import airflow_environment

# The first that the process of a task logs, each time that it starts.
FIRST_LINE = "::group::Pre Execute"


@contextlib.contextmanager
def airflow_with(settings: Settings, dags: Path, last_dag_id: str) -> Iterator[AirflowApi]:
    """Run an Airflow with the Dags of a folder, not paused, while the block runs.

    :raises Failure: it does not start, or a Dag file does not import; says why.
    """
    log = settings.airflow_home.with_name("airflow.log")
    api = AirflowApi(settings.airflow_url)
    environment = airflow_environment(settings) | {
        # On two busy cores a transaction takes longer than the five seconds that others wait for it.
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{settings.airflow_home}/airflow.db?timeout=60",
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",
    }

    def knows_the_dags() -> bool:
        if errors := api.import_errors():
            raise Failure(f"A Dag file does not import: {errors[0]}")
        return api.get_dag(last_dag_id) is not None

    command = [sys.executable, "-m", "airflow", "standalone"]
    with running(command, environment, PROJECT, log) as process:
        wait_until(api.is_healthy, "Airflow", process, log, 240)
        api.log_in()
        wait_until(knows_the_dags, f"The Dag {last_dag_id}", process, log, 120)
        yield api


def resumed_at(settings: Settings, dag_id: str, run_id: str, task_id: str) -> datetime | None:
    """Return when a deferred task logged its first line after it had waited, None if it has not yet."""
    log = settings.airflow_home / "logs" / f"dag_id={dag_id}" / f"run_id={run_id}"
    path = log / f"task_id={task_id}" / "attempt=1.log"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    starts = [json.loads(line)["timestamp"] for line in lines if f'"{FIRST_LINE}"' in line]
    return datetime.fromisoformat(starts[1]) if len(starts) > 1 else None

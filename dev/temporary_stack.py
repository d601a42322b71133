"""Run Airflow and a local dbt Cloud in a temporary directory and on free ports."""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from local_dbt_cloud.testing import LocalDbtCloud

from scripts import stack
from scripts.airflow_api import AirflowApi
from scripts.processes import free_port
from scripts.progress import Progress
from scripts.settings import Connection, Settings

TOKEN = "token-of-a-temporary-stack"  # noqa: S105 - of a local dbt Cloud that ends with the command
# Prefixes of variables that belong to another stack, or to the make that called this command.
FOREIGN_VARIABLES = (
    "AIRFLOW",
    "LOCAL_DBT_CLOUD_",
    "PYTHONDONTWRITEBYTECODE",
    "MAKE",
    "MFLAGS",
    "VIRTUAL_ENV",
)
AIRFLOW_ENVIRONMENT = {
    "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
    # The files do not change: parse them once.
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",
}


class TemporaryDbtCloud(LocalDbtCloud):
    """A local dbt Cloud whose process can be measured and killed."""

    def __init__(self, settings: Settings, process: subprocess.Popen[bytes]) -> None:
        super().__init__(
            f"https://localhost:{settings.api_port}", settings.pages_url, settings.data_dir, TOKEN
        )
        self.process = process


def clean_environment() -> dict[str, str]:
    """Return the shell's environment without variables that belong to another stack."""
    return {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN_VARIABLES)}


def settings_in(directory: Path) -> Settings:
    """Return the settings of a stack in a directory, on free ports."""
    api_port = free_port()
    fields = {"conn_type": "dbt_cloud", "host": f"localhost:{api_port}", "login": "1", "password": TOKEN}
    return Settings(
        airflow_port=free_port(),
        api_port=api_port,
        pages_port=free_port(),
        airflow_home=directory / "airflow",
        data_dir=directory / "dbt_cloud",
        connection=Connection(fields["host"], "1", TOKEN, json.dumps(fields)),
        connection_source="the temporary stack",
        job_id="1",
        environment=clean_environment() | {"LOCAL_DBT_CLOUD_TOKEN": TOKEN},
    )


def account(name: str, project: Path, command: str, jobs: Mapping[int, str]) -> dict[str, Any]:
    """Return the content of an account file whose jobs can all run at the same time.

    Each job has its own database: only one process at a time can write to a DuckDB file.

    :param name: Name of the account and its project.
    :param project: Directory of the dbt project.
    :param command: dbt command of each job.
    :param jobs: Names of the jobs by their IDs.
    """
    return {
        "account": {"id": 1, "name": name, "run_slots": len(jobs)},
        "projects": [{"id": 1, "name": name, "directory": str(project)}],
        "environments": [
            {"id": job_id, "project_id": 1, "name": job, "database": f"{job_id}.duckdb", "schema": "prod"}
            for job_id, job in jobs.items()
        ],
        "jobs": [
            {"id": job_id, "environment_id": job_id, "name": job, "execute_steps": [command]}
            for job_id, job in jobs.items()
        ],
    }


@contextlib.contextmanager
def local_dbt_cloud(
    settings: Settings, account: Mapping[str, Any], history: int = 0
) -> Iterator[TemporaryDbtCloud]:
    """Run a local dbt Cloud while the block runs.

    :param account: Content of its account file.
    :param history: Number of finished runs to create first.
    :raises UserError: It did not start.
    """
    account_file = settings.data_dir.with_name("account.yaml")
    account_file.parent.mkdir(parents=True, exist_ok=True)
    account_file.write_text(yaml.safe_dump(dict(account)), encoding="utf-8")
    with stack.local_dbt_cloud(settings, Progress(quiet=True), account_file, history) as process:
        with contextlib.closing(TemporaryDbtCloud(settings, process)) as dbt_cloud:
            yield dbt_cloud


def airflow(
    settings: Settings, dags: Path, dag_id: str, environment: Mapping[str, str] = stack.NO_VARIABLES
) -> contextlib.AbstractContextManager[AirflowApi]:
    """Run an Airflow while the block runs, with the Dags of a directory unpaused.

    :param dag_id: Dag to wait for: the last one that Airflow parses.
    :param environment: Additional environment variables of all Airflow processes.
    :raises UserError: It did not start, or a Dag file cannot be imported.
    """
    variables = {**AIRFLOW_ENVIRONMENT, **environment}
    return stack.airflow(settings, Progress(quiet=True), dags=dags, dag_id=dag_id, environment=variables)

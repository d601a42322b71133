"""Run Airflow and a local dbt Cloud in a directory of their own and on free ports."""

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
# Variables of other stacks, and of the make that called us.
FOREIGN = ("AIRFLOW", "LOCAL_DBT_CLOUD_", "PYTHONDONTWRITEBYTECODE", "MAKE", "MFLAGS", "VIRTUAL_ENV")
# Dags run without being unpaused, and no file is parsed twice.
AIRFLOW_ENVIRONMENT = {
    "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",
}


class TemporaryDbtCloud(LocalDbtCloud):
    """A local dbt Cloud whose process can be measured or killed."""

    def __init__(self, settings: Settings, process: subprocess.Popen[bytes]) -> None:
        api, pages = f"https://localhost:{settings.api_port}", f"http://localhost:{settings.pages_port}"
        super().__init__(api, pages, settings.data_dir, TOKEN)
        self.process = process


def clean_environment() -> dict[str, str]:
    """Return the shell's environment without variables that concern another stack."""
    return {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}


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
        connection_is_from="the temporary stack",
        job_id="1",
        environment=clean_environment() | {"LOCAL_DBT_CLOUD_TOKEN": TOKEN},
    )


def account(name: str, project: Path, command: str, jobs: Mapping[int, str]) -> dict[str, Any]:
    """Return an account whose jobs can all run at the same time.

    Each job has its own database: only one process at a time can write to a DuckDB file.

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
    """Run a local dbt Cloud with an account while the block runs.

    :param history: Number of finished runs to create first.
    :raises Failure: It does not start; says why.
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
    """Run an Airflow with the Dags of a directory, not paused, while the block runs.

    :param dag_id: Dag to wait for: the last one that Airflow parses.
    :param environment: Variables of every Airflow process, beside those of the stack.
    :raises Failure: It does not start, or a Dag file does not import; says why.
    """
    variables = {**AIRFLOW_ENVIRONMENT, **environment}
    return stack.airflow(settings, Progress(quiet=True), dags=dags, dag_id=dag_id, environment=variables)

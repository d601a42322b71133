"""Run the local dbt Cloud and Airflow, and stop both with all their processes."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

import httpx

from scripts.airflow_api import AirflowApi
from scripts.dbt_cloud_api import DbtCloudApi
from scripts.exceptions import UserError
from scripts.processes import check_port_is_free, free_port, running, wait_until
from scripts.progress import Progress
from scripts.settings import DAG_ID, PROJECT, Settings, read_airflow_settings

LOCAL_HOSTS = "localhost,127.0.0.1,::1"
DAGS = PROJECT / "dags"
# Seconds. The local dbt Cloud creates a long history before it answers.
DBT_CLOUD_START_TIMEOUT = 180
AIRFLOW_START_TIMEOUT = 240
DAG_PARSE_TIMEOUT = 120
NO_VARIABLES: Mapping[str, str] = MappingProxyType({})


@contextlib.contextmanager
def local_dbt_cloud(
    settings: Settings, progress: Progress, account: Path | None = None, history: int = 0
) -> Iterator[subprocess.Popen[bytes]]:
    """Run the local dbt Cloud while the block runs, and yield its process.

    :param account: Account file; the demo account if omitted.
    :param history: Number of finished runs to create first.
    :raises UserError: It is not installed, a port is taken, or it did not start.
    """
    check_port_is_free(settings.api_port, "LOCAL_DBT_CLOUD_API_PORT", "the local dbt Cloud's API")
    check_port_is_free(settings.pages_port, "LOCAL_DBT_CLOUD_PAGES_PORT", "the local dbt Cloud's web server")
    log = settings.data_dir / "local_dbt_cloud.log"
    command = [
        find_command("local-dbt-cloud"), "--api-port", str(settings.api_port),
        "--pages-port", str(settings.pages_port), "--data-dir", str(settings.data_dir),
        "--history", str(history),
    ]  # fmt: skip
    if account:
        command += ["--account", str(account)]

    def is_ready() -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(settings.pages_url, trust_env=False).is_success
        return False

    with running(command, settings.environment, PROJECT, log) as process:
        with progress.status("Starting the local dbt Cloud"):
            wait_until(is_ready, "The local dbt Cloud", process, log, DBT_CLOUD_START_TIMEOUT)
        progress.done(f"Local dbt Cloud ready at https://localhost:{settings.api_port}")
        yield process


@contextlib.contextmanager
def airflow(
    settings: Settings,
    progress: Progress,
    schedule: bool = True,
    dags: Path = DAGS,
    dag_id: str = DAG_ID,
    environment: Mapping[str, str] = NO_VARIABLES,
) -> Iterator[AirflowApi]:
    """Run Airflow while the block runs, with airflow_settings.yaml imported and the Dags parsed.

    :param schedule: Whether the scheduler runs Dags when they are due, or only when they are triggered.
    :param dags: Directory of the Dag files.
    :param dag_id: Dag to wait for: the last one that Airflow parses.
    :param environment: Additional environment variables of all Airflow processes.
    :raises UserError: The port is taken, Airflow did not start, or a Dag file cannot be imported.
    """
    check_port_is_free(settings.airflow_port, "AIRFLOW_PORT", "Airflow")
    log = airflow_log(settings, "standalone")
    api = AirflowApi(settings.airflow_url)
    environment = {**environment, "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": str(schedule)}

    def is_parsed() -> bool:
        if errors := api.get_import_errors():
            raise UserError(f"Cannot import a Dag file: {errors[0]}")
        return api.has_dag(dag_id)

    with airflow_process(settings, "standalone", dags, environment) as process:
        with progress.status("Starting Airflow (slower the first time)"):
            wait_until(api.is_healthy, "Airflow", process, log, AIRFLOW_START_TIMEOUT)
            api.log_in()
            api.import_settings(_without_connection(read_airflow_settings()))
            wait_until(is_parsed, f"The Dag {dag_id}", process, log, DAG_PARSE_TIMEOUT)
        progress.done(f"Airflow ready at {settings.airflow_url}")
        yield api


def airflow_process(
    settings: Settings, subcommand: str, dags: Path = DAGS, environment: Mapping[str, str] = NO_VARIABLES
) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """Run all of Airflow (``standalone``) or one component (such as ``triggerer``) while the block runs."""
    environment = {**airflow_environment(settings, dags), **environment}
    command = [find_command("airflow"), subcommand]
    return running(command, environment, PROJECT, airflow_log(settings, subcommand))


def airflow_log(settings: Settings, subcommand: str) -> Path:
    """Return the file that an Airflow process logs to."""
    return settings.airflow_home / f"{subcommand}.log"


def find_command(name: str) -> str:
    """Return the path of a command in this Python environment.

    :raises UserError: It is not installed.
    """
    path = Path(sys.executable).with_name(name)
    if not path.exists():
        raise UserError(f"{name} is not installed in {path.parent}: run a make command, which installs it.")
    return str(path)


def airflow_environment(settings: Settings, dags: Path = DAGS) -> dict[str, str]:
    """Return the environment of all Airflow processes."""
    inherited = settings.environment
    proxy_exceptions = inherited.get("NO_PROXY") or inherited.get("no_proxy")
    no_proxy = ",".join(filter(None, [proxy_exceptions, LOCAL_HOSTS]))
    environment = {
        # Seconds after which a new Dag file shows up. Airflow's default is 300.
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
        # Seconds after which Airflow has noticed for certain that the process of a deferred task has ended.
        # The trigger waits that long, and the runs here are short. Airflow's default is 5.
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        **inherited,
        "AIRFLOW_HOME": str(settings.airflow_home),
        # Absolute paths: those in Airflow's configuration file would be wrong after the project is moved.
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{settings.airflow_home}/airflow.db",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(settings.airflow_home / "logs"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        # The executor keeps this many worker processes, whether they have work or not.
        "AIRFLOW__CORE__PARALLELISM": "8",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{settings.airflow_url}/execution/",
        "AIRFLOW__API__BASE_URL": settings.airflow_url,
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(settings.airflow_port),
        # The default ports would be taken by another Airflow on this machine.
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "AIRFLOW_CONN_DBT_CONN": settings.connection.as_json,
        "PYTHONPATH": str(PROJECT),
        # `airflow standalone` looks for the command airflow in the path.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{inherited.get('PATH', os.defpath)}",
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
    }
    if settings.is_local:
        # requests reads the first one, aiohttp in the triggerer the second one.
        bundle = str(settings.ca_bundle)
        environment |= {"REQUESTS_CA_BUNDLE": bundle, "SSL_CERT_FILE": bundle}
    return environment


def check_connection(settings: Settings) -> DbtCloudApi:
    """Check host, token, account and job; return a client of the account.

    :raises UserError: One of them is wrong, or dbt Cloud did not answer.
    """
    connection = settings.connection
    name = f"the connection dbt_conn in {settings.connection_source}"
    if "/" in connection.host:
        raise UserError(f"The host of {name} is a URL: write it without https:// and without a path.")
    if not connection.token.isascii():
        raise UserError(f"The API token of {name} has characters that no token has: copy it again.")
    try:
        api = DbtCloudApi(connection, settings.ca_bundle if settings.is_local else None)
    except httpx.InvalidURL as error:
        raise UserError(f"The host of {name} is invalid: {error}.") from error
    except OSError as error:
        raise UserError(f"Cannot read the certificates that SSL_CERT_FILE names: {error}.") from error
    status = api.get_status_code("/")
    if status != 200:
        _raise_connection_error(settings, status, name)
    if api.get_status_code(f"/jobs/{settings.job_id}/") == 404:
        if settings.is_local:
            raise UserError(
                f"The local dbt Cloud has no job {settings.job_id}: set AIRFLOW_VAR_DBT_CLOUD_JOB_ID to "
                "another one, such as 101. To use your account instead, set AIRFLOW_CONN_DBT_CONN in .env."
            )
        raise UserError(
            f"dbt Cloud has no job {settings.job_id} in account {connection.account_id}: set "
            "AIRFLOW_VAR_DBT_CLOUD_JOB_ID in .env to the number in the job's URL."
        )
    return api


def _raise_connection_error(settings: Settings, status: int | str, name: str) -> NoReturn:
    host, account_id = settings.connection.host, settings.connection.account_id
    match status:
        case 401 if settings.is_local:
            raise UserError(
                f"The local dbt Cloud rejected the API token of {name}: "
                "set it to the value of LOCAL_DBT_CLOUD_TOKEN (default: local-token)."
            )
        case 401:
            raise UserError(
                f"dbt Cloud rejected the API token of {name}: set it to a valid service token, "
                "on a Starter or Developer plan to a personal access token."
            )
        case 403 | 404:
            raise UserError(
                f"The API token of {name} has no access to account {account_id!r}: "
                "set login to the account ID of the token."
            )
        case str() if "CERTIFICATE_VERIFY_FAILED" in status:
            raise UserError(
                f"The certificate of dbt Cloud at {host} is not trusted ({status}): check {name}. For a "
                "private authority, set both REQUESTS_CA_BUNDLE and SSL_CERT_FILE to its file."
            )
        case str():
            raise UserError(f"dbt Cloud at {host} did not answer ({status}): check {name}.")
        case _:
            raise UserError(f"dbt Cloud at {host} answered {status} to {name}: try again later.")


def _without_connection(settings: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    # Airflow reads dbt_conn from the environment. If it were imported too, the UI would show the import.
    others = [one for one in settings["connections"] if one["conn_id"] != "dbt_conn"]
    return settings | {"connections": others}

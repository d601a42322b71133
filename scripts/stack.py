"""Run the local dbt Cloud and Airflow, and stop both with all that they started."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx

from scripts.airflow_api import AirflowApi
from scripts.dbt_cloud_api import DbtCloudApi
from scripts.failure import Failure
from scripts.processes import check_port_is_free, free_port, running, wait_until
from scripts.progress import Progress
from scripts.settings import DAG_ID, PROJECT, Settings, read_airflow_settings

LOCAL_HOSTS = "localhost,127.0.0.1,::1"
DAGS = PROJECT / "dags"
# Seconds. A long history is created before the local dbt Cloud answers.
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
    :raises Failure: It is not installed, a port is taken, or it does not start; says why.
    """
    check_port_is_free(settings.api_port, "LOCAL_DBT_CLOUD_API_PORT", "the local dbt Cloud's API")
    check_port_is_free(settings.pages_port, "LOCAL_DBT_CLOUD_PAGES_PORT", "the local dbt Cloud's pages")
    log = settings.data_dir / "local_dbt_cloud.log"
    command = [
        installed("local-dbt-cloud"), "--api-port", str(settings.api_port),
        "--pages-port", str(settings.pages_port), "--data-dir", str(settings.data_dir),
        "--history", str(history),
    ]  # fmt: skip
    if account:
        command += ["--account", str(account)]

    def answers() -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"http://localhost:{settings.pages_port}/", trust_env=False).is_success
        return False

    with running(command, settings.environment, PROJECT, log) as process:
        with progress.waiting("Starting the local dbt Cloud"):
            wait_until(answers, "The local dbt Cloud", process, log, DBT_CLOUD_START_TIMEOUT)
        progress.done(f"The local dbt Cloud answers at https://localhost:{settings.api_port}")
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
    """Run a whole Airflow while the block runs, with airflow_settings.yaml imported and the Dags parsed.

    :param schedule: Whether Dags run when they are due, or only when they are triggered.
    :param dags: Directory of the Dag files.
    :param dag_id: Dag to wait for: the last one that Airflow parses.
    :param environment: Variables of every Airflow process, beside those of the local stack.
    :raises Failure: The port is taken, Airflow does not start, or a Dag file does not import; says why.
    """
    check_port_is_free(settings.airflow_port, "AIRFLOW_PORT", "Airflow")
    log = airflow_log(settings, "standalone")
    api = AirflowApi(settings.airflow_url)
    environment = {**environment, "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": str(schedule)}
    with airflow_process(settings, "standalone", dags, environment) as process:

        def knows_the_dag() -> bool:
            if errors := api.import_errors():
                raise Failure(f"A Dag file does not import: {errors[0]}")
            return api.get_dag(dag_id) is not None

        with progress.waiting("Starting Airflow: the first time takes a while"):
            wait_until(api.is_healthy, "Airflow", process, log, AIRFLOW_START_TIMEOUT)
            api.log_in()
            api.import_settings(without_connection(read_airflow_settings()))
            wait_until(knows_the_dag, f"The Dag {dag_id}", process, log, DAG_PARSE_TIMEOUT)
        progress.done(f"Airflow is up at {settings.airflow_url}")
        yield api


def airflow_process(
    settings: Settings, subcommand: str, dags: Path = DAGS, environment: Mapping[str, str] = NO_VARIABLES
) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """Run all of Airflow (``standalone``) or one component (such as ``triggerer``) while the block runs."""
    environment = {**airflow_environment(settings, dags), **environment}
    return running(
        [installed("airflow"), subcommand], environment, PROJECT, airflow_log(settings, subcommand)
    )


def airflow_log(settings: Settings, subcommand: str) -> Path:
    """Return the file that takes what an Airflow process prints."""
    return settings.airflow_home / f"{subcommand}.log"


def installed(command: str) -> str:
    """Return the path of a command in this Python's environment.

    :raises Failure: It is not installed there.
    """
    path = Path(sys.executable).with_name(command)
    if not path.exists():
        raise Failure(f"{command} is not installed in {path.parent}: use make, which installs it.")
    return str(path)


def without_connection(seeded: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Leave the connection dbt_conn out: Airflow has it from the environment, and would show another."""
    others = [one for one in seeded["connections"] if one["conn_id"] != "dbt_conn"]
    return seeded | {"connections": others}


def airflow_environment(settings: Settings, dags: Path = DAGS) -> dict[str, str]:
    """Return the environment of every Airflow process."""
    given = settings.environment
    no_proxy = ",".join(filter(None, [given.get("NO_PROXY") or given.get("no_proxy"), LOCAL_HOSTS]))
    ours = {
        "AIRFLOW_HOME": str(settings.airflow_home),
        # Airflow writes these into its configuration file, where they would outlive a move of the project.
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{settings.airflow_home}/airflow.db",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(settings.airflow_home / "logs"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        # Enough for a laptop: the executor keeps as many processes.
        "AIRFLOW__CORE__PARALLELISM": "8",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{settings.airflow_url}/execution/",
        "AIRFLOW__API__BASE_URL": settings.airflow_url,
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(settings.airflow_port),
        # Two Airflows on one machine would want the same two ports for these.
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "AIRFLOW_CONN_DBT_CONN": settings.connection.as_json,
        "PYTHONPATH": str(PROJECT),
        # `airflow standalone` starts its parts by the name airflow.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{given.get('PATH', os.defpath)}",
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
    }
    if settings.is_local:
        # The provider reads the one for its synchronous calls, the other in the triggerer.
        ours |= {"REQUESTS_CA_BUNDLE": str(settings.ca_bundle), "SSL_CERT_FILE": str(settings.ca_bundle)}
    return {**given, **ours}


def check_connection(settings: Settings) -> DbtCloudApi:
    """Return a client of the connection's dbt Cloud, after dbt Cloud has accepted its token and account.

    :raises Failure: it refuses, or does not answer; says what to change.
    """
    where = f"the connection dbt_conn in {settings.connection_is_from}"
    if "/" in settings.connection.host:
        raise Failure(f"The host of {where} is an address: write it without https:// and without a path.")
    if not settings.connection.token.isascii():
        raise Failure(f"The API token of {where} has characters that no token has: copy it anew.")
    try:
        api = DbtCloudApi(settings.connection, settings.ca_bundle if settings.is_local else None)
    except httpx.InvalidURL as error:
        raise Failure(f"The host of {where} is not a host: {error}.") from error
    except OSError as error:
        raise Failure(f"The certificates that SSL_CERT_FILE names cannot be read: {error}.") from error
    match api.try_get("/"):
        case 200 if api.try_get(f"/jobs/{settings.job_id}/") == 404:
            raise Failure(
                f"dbt Cloud knows no job {settings.job_id} in account {settings.connection.account_id}: set "
                "AIRFLOW_VAR_DBT_CLOUD_JOB_ID in .env to the number in the job's address."
            )
        case 200:
            return api
        case 401 if settings.is_local:
            raise Failure(
                f"The local dbt Cloud refuses the API token of {where}: "
                "make it the same as LOCAL_DBT_CLOUD_TOKEN, which is 'local-token' where it is not set."
            )
        case 401:
            raise Failure(f"dbt Cloud refuses the API token of {where}: put a valid service token there.")
        case 403 | 404:
            raise Failure(
                f"dbt Cloud's token is not for account {settings.connection.account_id!r} of {where}: "
                "set login to the account id of the token."
            )
        case str(reason):
            raise Failure(
                f"dbt Cloud at {settings.connection.host} does not answer ({reason}): check {where}."
            )
        case code:
            raise Failure(
                f"dbt Cloud at {settings.connection.host} answers {code} to {where}: try again later."
            )

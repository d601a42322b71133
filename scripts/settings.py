"""Settings of the local stack: ports, directories, and the connection to dbt Cloud."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from dotenv import dotenv_values
from dotenv.parser import parse_stream

from scripts.exceptions import UserError

PROJECT = Path(__file__).parent.parent
DAG_ID = "check_before_running_dbt_cloud_job"
# As in the dbt Cloud provider.
DEFAULT_HOST = "cloud.getdbt.com"
# Prefixes of shell variables that configure another Airflow.
FOREIGN_VARIABLES = ("AIRFLOW__", "AIRFLOW_HOME", "AIRFLOW_CONFIG")


@dataclass(frozen=True)
class Connection:
    """The Airflow connection ``dbt_conn``.

    :param host: Host of dbt Cloud, with the port if it is not 443.
    :param as_json: The connection on one line of JSON, as ``AIRFLOW_CONN_...`` takes it.
    """

    host: str
    account_id: str
    token: str
    as_json: str

    def is_local(self, api_port: int) -> bool:
        """Return whether it leads to the local dbt Cloud, whose API has this port."""
        return self.host in {f"{name}:{api_port}" for name in ("localhost", "127.0.0.1")}

    @property
    def api_url(self) -> str:
        """URL of the account in dbt Cloud's API."""
        return f"https://{self.host}/api/v2/accounts/{self.account_id}"


@dataclass(frozen=True)
class Settings:
    """Settings of the local stack.

    :param api_port: Port of the local dbt Cloud's API.
    :param pages_port: Port of the local dbt Cloud's pages.
    :param data_dir: Directory of the local dbt Cloud.
    :param connection_source: Where the connection is defined, for error messages.
    :param environment: Environment of the child processes.
    """

    airflow_port: int
    api_port: int
    pages_port: int
    airflow_home: Path
    data_dir: Path
    connection: Connection
    connection_source: str
    job_id: str
    environment: Mapping[str, str]

    @property
    def airflow_url(self) -> str:
        """URL of Airflow's UI and API."""
        return f"http://localhost:{self.airflow_port}"

    @property
    def pages_url(self) -> str:
        """URL of the local dbt Cloud's pages."""
        return f"http://localhost:{self.pages_port}"

    @property
    def is_local(self) -> bool:
        """Whether the connection leads to the local dbt Cloud."""
        return self.connection.is_local(self.api_port)

    @property
    def ca_bundle(self) -> Path:
        """Certificates of the local dbt Cloud and of the public authorities."""
        return self.data_dir / "ca-bundle.pem"


def read_settings(airflow_home: Path | None = None) -> Settings:
    """Read the settings from the shell, ``.env`` and airflow_settings.yaml, in this order of precedence.

    :param airflow_home: Default: ``.airflow``, or a directory in it for each real account.
    :raises UserError: A setting is missing or wrong.
    """
    environment = _read_environment()
    airflow_port = _parse_port(environment, "AIRFLOW_PORT", 8080)
    api_port = _parse_port(environment, "LOCAL_DBT_CLOUD_API_PORT", 8580)
    pages_port = _parse_port(environment, "LOCAL_DBT_CLOUD_PAGES_PORT", 8581)
    if len({airflow_port, api_port, pages_port}) < 3:
        raise UserError("AIRFLOW_PORT, LOCAL_DBT_CLOUD_API_PORT and LOCAL_DBT_CLOUD_PAGES_PORT must differ.")
    airflow_settings = read_airflow_settings()
    if as_json := environment.get("AIRFLOW_CONN_DBT_CONN"):
        connection = _connection_from_json(as_json)
        source = "the environment" if "AIRFLOW_CONN_DBT_CONN" in os.environ else ".env"
    else:
        connection = _connection_from_file(airflow_settings, api_port)
        source = "airflow_settings.yaml"
    settings = Settings(
        airflow_port=airflow_port,
        api_port=api_port,
        pages_port=pages_port,
        airflow_home=(airflow_home or PROJECT / ".airflow").resolve(),
        data_dir=(PROJECT / environment.get("LOCAL_DBT_CLOUD_DATA_DIR", ".local_dbt_cloud")).resolve(),
        connection=connection,
        connection_source=source,
        job_id=_read_job_id(environment, airflow_settings, connection.is_local(api_port)),
        environment=environment,
    )
    if airflow_home or settings.is_local:
        return settings
    # Each account has its own Airflow: Dags that were unpaused for one must not run in another.
    account = re.sub(r"[^\w.]+", "-", f"{connection.host}-{connection.account_id}")
    return replace(settings, airflow_home=settings.airflow_home / "accounts" / account)


def read_airflow_settings() -> dict[str, list[dict[str, Any]]]:
    """Return ``connections``, ``variables`` and ``pools`` of airflow_settings.yaml.

    :raises UserError: The file is missing or malformed.
    """
    path = PROJECT / "airflow_settings.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))["airflow"]
        return {kind: content.get(kind) or [] for kind in ("connections", "variables", "pools")}
    except (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        raise UserError(f"Cannot read {path.name}: {error}") from error


def _read_environment() -> dict[str, str]:
    shell = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN_VARIABLES)}
    # A dozen processes start from the same code: without a bytecode cache each compiles all of it.
    shell.pop("PYTHONDONTWRITEBYTECODE", None)
    variables = {**_read_dotenv(PROJECT / ".env"), **shell}
    # An empty value counts as not set, also for the child processes.
    return {name: value for name, value in variables.items() if value}


def _read_dotenv(path: Path) -> dict[str, str | None]:
    if path.is_file():
        with path.open(encoding="utf-8") as file:
            for binding in parse_stream(file):
                # dotenv_values() would only log a warning.
                if binding.error:
                    raise UserError(f"Cannot read line {binding.original.line} of .env: write NAME=value.")
    return dotenv_values(path)


def _parse_port(environment: Mapping[str, str], variable: str, default: int) -> int:
    text = environment.get(variable) or str(default)
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise UserError(f"{variable} is {text!r}: set it to a port number.")
    return int(text)


def _read_job_id(
    environment: Mapping[str, str], airflow_settings: dict[str, list[dict[str, Any]]], is_local: bool
) -> str:
    variables = {one["variable_name"]: one["variable_value"] for one in airflow_settings["variables"]}
    job_id = environment.get("AIRFLOW_VAR_DBT_CLOUD_JOB_ID", "")
    if not job_id and not is_local:
        # The file has a job of the local dbt Cloud; another account may have one with the same ID.
        raise UserError(
            "AIRFLOW_VAR_DBT_CLOUD_JOB_ID is not set: set it in .env to the number in the job's URL."
        )
    job_id = job_id or str(variables.get("dbt_cloud_job_id", ""))
    if not job_id.isdecimal():
        raise UserError(
            f"The variable dbt_cloud_job_id is {job_id!r}: set it to a job ID, which is a number."
        )
    return job_id


def _connection_from_file(airflow_settings: dict[str, list[dict[str, Any]]], api_port: int) -> Connection:
    for entry in airflow_settings["connections"]:
        if entry["conn_id"] == "dbt_conn":
            # The host in the file is valid only in Docker.
            host = f"localhost:{api_port}"
            return _connection(host, login=entry.get("conn_login"), password=entry.get("conn_password"))
    raise UserError("airflow_settings.yaml has no connection dbt_conn: add it, or set it in .env.")


def _connection_from_json(text: str) -> Connection:
    try:
        return _connection(**json.loads(text))
    except (ValueError, TypeError) as error:
        # Without the text, which contains a token.
        raise UserError(
            "AIRFLOW_CONN_DBT_CONN is not JSON on one line: write it as .env.example shows, unquoted."
        ) from error


def _connection(host: Any = None, login: Any = None, password: Any = None, **more: Any) -> Connection:
    for name, value in {"login": login, "password": password}.items():
        if value in (None, ""):
            raise UserError(f"The connection dbt_conn has no {name}: .env.example explains it.")
    # Airflow ignores a connection whose login is a number in JSON.
    host, login, password = str(host or DEFAULT_HOST), str(login), str(password)
    fields = {"conn_type": "dbt_cloud", **more, "host": host, "login": login, "password": password}
    return Connection(host, login, password, json.dumps(fields))

"""Where the local stack lives and how its parts reach each other: ports, directories, the connection."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from dotenv import dotenv_values

from scripts.failure import Failure

PROJECT = Path(__file__).parent.parent
DAG_ID = "check_before_running_dbt_cloud_job"


@dataclass(frozen=True)
class Connection:
    """The connection ``dbt_conn``: where dbt Cloud is, and as whom we come."""

    host: str
    account_id: str
    token: str
    # Airflow's own form of it, one line of JSON.
    as_json: str

    @property
    def api(self) -> str:
        """The address of the account in dbt Cloud's API."""
        return f"https://{self.host}/api/v2/accounts/{self.account_id}"


@dataclass(frozen=True)
class Settings:
    """The local stack's settings, from the environment, ``.env`` and airflow_settings.yaml."""

    airflow_port: int
    api_port: int
    pages_port: int
    airflow_home: Path
    data_dir: Path
    connection: Connection
    connection_is_from: str
    job_id: str
    # What .env and the shell say, without the shell's settings of some other Airflow.
    environment: Mapping[str, str]

    @property
    def airflow_url(self) -> str:
        """The address of Airflow's UI and API."""
        return f"http://localhost:{self.airflow_port}"

    @property
    def is_local(self) -> bool:
        """Whether the connection leads to the local dbt Cloud."""
        return self.connection.host in {f"{name}:{self.api_port}" for name in ("localhost", "127.0.0.1")}

    @property
    def ca_bundle(self) -> Path:
        """The certificates to trust."""
        return self.data_dir / "ca-bundle.pem"


def read_settings(airflow_home: Path | None = None) -> Settings:
    """Read the settings; the shell wins over ``.env``, and both win over airflow_settings.yaml.

    :raises Failure: a value is not what it must be; says which.
    """
    shell = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW__")}
    for name in ("AIRFLOW_HOME", "AIRFLOW_CONFIG"):
        shell.pop(name, None)
    # The stack is a dozen Python processes of the same code; without a bytecode cache each compiles it all.
    shell.pop("PYTHONDONTWRITEBYTECODE", None)
    dotenv = dotenv_values(PROJECT / ".env")
    # What is set to nothing is not set, for us and for the processes that inherit this.
    environment = {name: value for name, value in {**dotenv, **shell}.items() if value}
    api_port = _port(environment, "LOCAL_DBT_CLOUD_API_PORT", 8580)
    seeded = read_airflow_settings()
    job_id = environment.get("AIRFLOW_VAR_DBT_CLOUD_JOB_ID") or next(
        (one["variable_value"] for one in seeded["variables"] if one["variable_name"] == "dbt_cloud_job_id"),
        "",
    )
    if given := environment.get("AIRFLOW_CONN_DBT_CONN"):
        connection = _connection_from_json(given)
        origin = "the environment" if "AIRFLOW_CONN_DBT_CONN" in shell else ".env"
    else:
        entry = next((one for one in seeded["connections"] if one["conn_id"] == "dbt_conn"), None)
        if entry is None:
            raise Failure("airflow_settings.yaml has no connection dbt_conn: add it, or set it in .env.")
        # The file names the host by its name under Docker.
        connection = _connection(
            f"localhost:{api_port}", login=entry.get("conn_login"), password=entry.get("conn_password")
        )
        origin = "airflow_settings.yaml"
    if not str(job_id).isdecimal():
        raise Failure(f"The variable dbt_cloud_job_id is {job_id!r}: set it to a job's number.")
    airflow_port = _port(environment, "AIRFLOW_PORT", 8080)
    pages_port = _port(environment, "LOCAL_DBT_CLOUD_PAGES_PORT", 8581)
    if len({airflow_port, api_port, pages_port}) < 3:
        raise Failure("AIRFLOW_PORT, LOCAL_DBT_CLOUD_API_PORT and LOCAL_DBT_CLOUD_PAGES_PORT must differ.")
    settings = Settings(
        airflow_port=airflow_port,
        api_port=api_port,
        pages_port=pages_port,
        airflow_home=(airflow_home or PROJECT / ".airflow").resolve(),
        data_dir=(PROJECT / environment.get("LOCAL_DBT_CLOUD_DATA_DIR", ".local_dbt_cloud")).resolve(),
        connection=connection,
        connection_is_from=origin,
        job_id=str(job_id),
        environment=environment,
    )
    if airflow_home or settings.is_local:
        return settings
    # A Dag that was unpaused to try it must not run in a real account, nor one of another account's in this.
    account = re.sub(r"[^\w.]+", "-", f"{connection.host}-{connection.account_id}")
    return replace(settings, airflow_home=settings.airflow_home / "accounts" / account)


def read_airflow_settings() -> dict[str, list[dict[str, Any]]]:
    """Return the connections, variables and pools of airflow_settings.yaml, each a list.

    :raises Failure: the file is missing or not of the form that the Astro CLI reads.
    """
    path = PROJECT / "airflow_settings.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))["airflow"]
        return {kind: content.get(kind) or [] for kind in ("connections", "variables", "pools")}
    except (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        raise Failure(f"Cannot read {path.name}: {error}") from error


def _port(environment: Mapping[str, str], variable: str, default: int) -> int:
    text = environment.get(variable) or str(default)
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise Failure(f"{variable} is {text!r}: set it to a port number.")
    return int(text)


def _connection_from_json(text: str) -> Connection:
    try:
        fields = json.loads(text)
        return _connection(**fields)
    except (ValueError, TypeError) as error:
        # The text holds a token: it must not stand in the message.
        raise Failure(
            "AIRFLOW_CONN_DBT_CONN is not JSON on one line: write it as .env.example shows, unquoted."
        ) from error


def _connection(host: Any = None, login: Any = None, password: Any = None, **more: Any) -> Connection:
    for name, value in {"login": login, "password": password}.items():
        if value in (None, ""):
            raise Failure(f"The connection dbt_conn has no {name}: .env.example says what it is.")
    # Airflow passes over a connection whose account id is a number.
    host, login, password = str(host or "cloud.getdbt.com"), str(login), str(password)
    fields = {"conn_type": "dbt_cloud", **more, "host": host, "login": login, "password": password}
    return Connection(host, login, password, json.dumps(fields))

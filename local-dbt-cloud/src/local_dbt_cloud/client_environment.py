"""Environment variables that point clients of dbt Cloud at a local one."""

import json
from pathlib import Path


def airflow_connection(url: str, token: str, account_id: int) -> str:
    """Return an Airflow connection as JSON, for ``AIRFLOW_CONN_...``."""
    host = url.removeprefix("https://")
    fields = {"conn_type": "dbt_cloud", "host": host, "login": str(account_id), "password": token}
    return json.dumps(fields)


def trusted_authorities(ca_bundle: Path) -> dict[str, str]:
    """Return the variables that make a process trust the local dbt Cloud over TLS."""
    return {"SSL_CERT_FILE": str(ca_bundle), "REQUESTS_CA_BUNDLE": str(ca_bundle)}


def client_environment(
    url: str, token: str, account_id: int, ca_bundle: Path, connection_ids: list[str]
) -> dict[str, str]:
    """Return the variables that Airflow, dbtc, Terraform's provider and others read.

    :param connection_ids: IDs of Airflow connections.
    """
    connection = airflow_connection(url, token, account_id)
    return {
        **{f"AIRFLOW_CONN_{name.upper()}": connection for name in connection_ids},
        **trusted_authorities(ca_bundle),
        "DBT_CLOUD_ACCOUNT_ID": str(account_id),
        "DBT_CLOUD_HOST": url.removeprefix("https://"),
        "DBT_CLOUD_HOST_URL": f"{url}/api",
        "DBT_CLOUD_TOKEN": token,
        "DBT_CLOUD_SERVICE_TOKEN": token,
        "LOCAL_DBT_CLOUD_URL": url,
        "LOCAL_DBT_CLOUD_TOKEN": token,
    }

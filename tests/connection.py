"""Define the connection dbt_conn in an environment variable."""

import json
from typing import Any

import pytest


def connect(monkeypatch: pytest.MonkeyPatch, host: str, token: str = "local-token", **more: Any) -> None:
    """Define dbt_conn during a test.

    :param more: Further fields of the connection.
    """
    fields = {"conn_type": "dbt_cloud", "host": host, "login": "1", "password": token, **more}
    monkeypatch.setenv("AIRFLOW_CONN_DBT_CONN", json.dumps(fields))

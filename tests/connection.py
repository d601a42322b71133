"""The connection dbt_conn, as an environment variable gives it to Airflow."""

import json
from typing import Any

import pytest


def connect(monkeypatch: pytest.MonkeyPatch, host: str, token: str = "local-token", **more: Any) -> None:
    """Point the connection dbt_conn at a host for the length of a test; ``more`` are fields beside it."""
    fields = {"conn_type": "dbt_cloud", "host": host, "login": "1", "password": token, **more}
    monkeypatch.setenv("AIRFLOW_CONN_DBT_CONN", json.dumps(fields))

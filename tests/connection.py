"""The connection dbt_conn, as an environment variable gives it to Airflow."""

import json

import pytest


def connect(monkeypatch: pytest.MonkeyPatch, host: str, token: str = "local-token") -> None:
    """Point the connection dbt_conn at a host for the length of a test."""
    fields = {"conn_type": "dbt_cloud", "host": host, "login": "1", "password": token}
    monkeypatch.setenv("AIRFLOW_CONN_DBT_CONN", json.dumps(fields))

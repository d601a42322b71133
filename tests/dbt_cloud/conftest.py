"""A connection to a local dbt Cloud whose runs the tests put there."""

import json
from collections.abc import Iterator

import pytest

from tests.running_cloud import TOKEN, RunningCloud, running_cloud


@pytest.fixture
def cloud(tmp_path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningCloud]:
    with running_cloud(tmp_path / "data") as cloud:
        connect(monkeypatch, f"localhost:{cloud.api_port}")
        yield cloud


def connect(monkeypatch: pytest.MonkeyPatch, host: str, token: str = TOKEN) -> None:
    """Point the connection dbt_conn at a host."""
    fields = {"conn_type": "dbt_cloud", "host": host, "login": "1", "password": token}
    monkeypatch.setenv("AIRFLOW_CONN_DBT_CONN", json.dumps(fields))

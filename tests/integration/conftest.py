"""Fixtures: a local dbt Cloud whose runs are controlled by the tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from local_dbt_cloud.testing import LocalDbtCloud


@pytest.fixture
def cloud(local_dbt_cloud: LocalDbtCloud, monkeypatch: pytest.MonkeyPatch) -> LocalDbtCloud:
    """A local dbt Cloud that the connection ``dbt_conn`` points to."""
    monkeypatch.setenv("AIRFLOW_CONN_DBT_CONN", local_dbt_cloud.connection)
    return local_dbt_cloud


@pytest.fixture
def held(cloud: LocalDbtCloud, monkeypatch: pytest.MonkeyPatch) -> LocalDbtCloud:
    """A local dbt Cloud that keeps triggered runs queued: the test sets how each one ends."""
    cloud.pause()
    monkeypatch.setattr("include.dbt_cloud.submitter.CONSISTENCY_WINDOW", 0.5)
    return cloud

"""Fixtures: a local dbt Cloud whose runs are controlled by the tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.task_instance import TaskStates

if TYPE_CHECKING:
    from local_dbt_cloud.testing import LocalDbtCloud


@pytest.fixture(autouse=True)
def task_states(monkeypatch: pytest.MonkeyPatch) -> TaskStates:
    """What Airflow answers when it is asked for the state of a task instance."""
    states = TaskStates()
    # By name: this file is imported before the tests trust the certificate of the local dbt Cloud.
    method = "airflow.sdk.execution_time.task_runner.RuntimeTaskInstance.get_task_states"
    monkeypatch.setattr(method, states.get_task_states)
    monkeypatch.setenv("AIRFLOW_VAR_DBT_CLOUD_DEPLOYMENT_ID", "a-deployment")
    return states


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

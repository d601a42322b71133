"""Notifications of failures and missed deadlines, received by a webhook."""

import asyncio
import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from airflow.sdk.log import redact
from local_dbt_cloud.testing import LocalDbtCloud

from include.dbt_cloud.alerts import LATE, WebhookNotifier
from include.dbt_cloud.exceptions import DbtCloudJobRunFailed
from tests.integration.lifecycle import TaskLifecycle
from tests.integration.run_results import result, step
from tests.webhook import webhook


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The messages that a webhook received, with the connection ``dbt_alerts`` to it."""
    with webhook() as (connection, received):
        monkeypatch.setenv("AIRFLOW_CONN_DBT_ALERTS", connection)
        yield received


def failed_task(held: LocalDbtCloud) -> tuple[TaskLifecycle, dict[str, Any]]:
    """Return a task whose run failed, and the context of its callback."""
    lifecycle = TaskLifecycle()
    broken = step([result("model.shop.orders", "error", message="Database Error in model orders\n  no disk")])
    with pytest.raises(DbtCloudJobRunFailed) as failure:
        lifecycle.run(lambda: held.end_active_runs("error", "dbt failed", steps=[broken]))
    ti = SimpleNamespace(dag_id="sales", task_id="trigger_job", log_url="http://airflow/log")
    return lifecycle, {"ti": ti, "task": lifecycle.operator(), "exception": failure.value}


def test_a_failure_is_posted_with_job_run_first_failed_node_and_reason(
    held: LocalDbtCloud, messages: list[Any]
) -> None:
    lifecycle, context = failed_task(held)
    WebhookNotifier()(context)
    run = held.get(f"runs/{lifecycle.ti.xcoms['job_run_id']}/")
    text = (
        "sales.trigger_job failed for dbt Cloud job 101: model.shop.orders: Database Error: no disk "
        f"dbt Cloud run {run['id']} ended: Error. dbt failed See {run['href']} Log: http://airflow/log"
    )
    assert messages == [("/services/T/B/X", {"text": text})]


def test_a_failure_is_logged_without_a_connection(
    held: LocalDbtCloud, capsys: pytest.CaptureFixture[str]
) -> None:
    _, context = failed_task(held)
    WebhookNotifier()(context)
    assert (
        "Not sent, because there is no connection 'dbt_alerts': {'text': 'sales.trigger_job f"
        in capsys.readouterr().out
    )


# What Airflow passes to the callback of a deadline.
DEADLINE = {"dag_run": {"dag_id": "sales", "dag_run_id": "scheduled"}, "deadline": {"deadline_time": "7:00"}}


async def notify() -> None:
    await WebhookNotifier(text=LATE, context=DEADLINE)


def test_a_missed_deadline_is_posted(messages: list[Any]) -> None:
    asyncio.run(notify())
    assert messages == [("/services/T/B/X", {"text": "sales did not finish by 7:00. Run: scheduled"})]


def test_a_missed_deadline_is_logged_without_a_connection(capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(notify())
    assert "'text': 'sales did not finish by 7:00. Run: scheduled'" in capsys.readouterr().out


@pytest.mark.parametrize("is_async", [True, False])
def test_the_address_is_masked_in_logs(
    held: LocalDbtCloud, messages: list[Any], monkeypatch: pytest.MonkeyPatch, is_async: bool
) -> None:
    _, context = failed_task(held)
    path = f"/services/T/B/{uuid4()}"
    connection = os.environ["AIRFLOW_CONN_DBT_ALERTS"].replace("/services/T/B/X", path)
    monkeypatch.setenv("AIRFLOW_CONN_DBT_ALERTS", connection)
    if is_async:
        asyncio.run(notify())
    else:
        WebhookNotifier()(context)
    assert messages[0][0] == path
    assert redact(f"404 for http://localhost{path}") == "404 for http://localhost***"

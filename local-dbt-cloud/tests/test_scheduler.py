"""Races in the scheduler, on an event loop of the test and without dbt."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from local_dbt_cloud.account import load_account_config
from local_dbt_cloud.data_directory import DataDirectory
from local_dbt_cloud.database import Run, open_database
from local_dbt_cloud.provisioning import sync_declared
from local_dbt_cloud.run_status import RunStatus
from local_dbt_cloud.scheduler import Scheduler
from local_dbt_cloud.trigger_request import TriggerRequest
from tiny_account import QUICK

Race = Callable[[Scheduler], Coroutine[Any, Any, int]]


async def cancel_before_first_step(scheduler: Scheduler) -> int:
    run_id = scheduler.trigger(QUICK, TriggerRequest(cause="a test"))
    scheduler._dispatch()
    await scheduler.cancel(run_id)
    return run_id


async def trigger_while_stopping(scheduler: Scheduler) -> int:
    stopping = asyncio.create_task(scheduler.stop())
    await asyncio.sleep(0)
    run_id = scheduler.trigger(QUICK, TriggerRequest(cause="a test"))
    await stopping
    await asyncio.sleep(0)
    scheduler._cancel_active_runs()
    return run_id


@pytest.mark.parametrize("race", [cancel_before_first_step, trigger_while_stopping])
def test_run_canceled_before_its_start_never_starts(tmp_path: Path, tiny_account: Path, race: Race) -> None:
    async def run_race() -> Run:
        data = DataDirectory(tmp_path / "data")
        data.root.mkdir()
        config = load_account_config(tiny_account)
        sessions = open_database(data)
        with sessions.begin() as session:
            sync_declared(session, config)
        scheduler = Scheduler(config, sessions, data)
        run_id = await race(scheduler)
        # Wait for pending callbacks.
        for _ in range(10):
            await asyncio.sleep(0.01)
        assert len(asyncio.all_tasks()) == 1
        with scheduler.sessions() as session:
            return session.get_one(Run, run_id)

    run = asyncio.run(run_race())
    assert run.status == RunStatus.CANCELLED
    assert run.status_message
    assert run.started_at is None

"""The scheduler's corners, on an event loop of the test's own, where no dbt gets to start."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from local_dbt_cloud.account import read_declaration
from local_dbt_cloud.data_directory import DataDirectory
from local_dbt_cloud.database import Run, RunStatus, open_store
from local_dbt_cloud.job_store import declare_jobs
from local_dbt_cloud.scheduler import Scheduler
from local_dbt_cloud.trigger_request import TriggerRequest
from tiny_account import QUICK

Corner = Callable[[Scheduler], Coroutine[Any, Any, int]]


async def cancelled_before_its_first_step(scheduler: Scheduler) -> int:
    run_id = scheduler.trigger(QUICK, TriggerRequest(cause="a test"))
    scheduler._dispatch()
    await scheduler.cancel(run_id)
    return run_id


async def triggered_while_it_stops(scheduler: Scheduler) -> int:
    stopping = asyncio.create_task(scheduler.stop())
    await asyncio.sleep(0)
    run_id = scheduler.trigger(QUICK, TriggerRequest(cause="a test"))
    await stopping
    await asyncio.sleep(0)
    scheduler._end_active_runs()
    return run_id


@pytest.mark.parametrize("corner", [cancelled_before_its_first_step, triggered_while_it_stops])
def test_a_run_that_ends_before_it_begins_never_begins(
    tmp_path: Path, tiny_account: Path, corner: Corner
) -> None:
    async def life() -> Run:
        data = DataDirectory(tmp_path / "data")
        data.root.mkdir()
        declaration = read_declaration(tiny_account)
        sessions = open_store(data)
        with sessions.begin() as session:
            declare_jobs(session, declaration)
        scheduler = Scheduler(declaration, sessions, data)
        run_id = await corner(scheduler)
        # Whatever was left to do is done by now.
        for _ in range(10):
            await asyncio.sleep(0.01)
        assert len(asyncio.all_tasks()) == 1
        with scheduler.sessions() as session:
            return session.get_one(Run, run_id)

    run = asyncio.run(life())
    assert run.status == RunStatus.CANCELLED
    assert run.status_message
    assert run.started_at is None

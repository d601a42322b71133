"""Task lifecycles under random faults: no duplicate run, none left active, no wrong outcome."""

import asyncio
import os
import random
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from local_dbt_cloud.testing import LocalDbtCloud, Status

from include.dbt_cloud.exceptions import (
    DbtCloudConnectionError,
    DbtCloudJobRunCancelled,
    DbtCloudJobRunFailed,
    DbtCloudJobRunTimedOut,
    DbtCloudJobRunUnreachable,
    DbtCloudResponseError,
)
from include.dbt_cloud.trigger import DbtCloudRunJobTrigger
from tests.integration.lifecycle import TaskLifecycle
from tests.task_instance import Killed, TaskInstance, TaskStates

pytestmark = pytest.mark.end_to_end

# `make chaos` runs more.
LIFECYCLES, PARTS = int(os.environ.get("RANDOM_LIFECYCLES", 60)), 4
SEED = 20261122
RETRIES = 3
NO_RUN = dict.fromkeys(["in_progress", "is_success", "is_error", "is_cancelled"], False)
CUT_SHORT = (Killed, DbtCloudJobRunUnreachable, DbtCloudConnectionError, DbtCloudResponseError)

# Faults of the request that starts a run, and of those that poll it.
SUBMIT_FAULTS: list[dict[str, Any]] = [
    {"drop": "before"},
    {"drop": "after"},
    {"status": 503},
    {"status": 503, "acts": True},
    {"status": 429, "retry_after": 0},
    {"html": True, "acts": True},
    {"html": True},
]
POLL_FAULTS: list[dict[str, Any]] = [
    {"drop": "before"},
    {"drop": "after"},
    {"status": 503},
    {"status": 404},
    {"status": 429, "retry_after": 0},
    {"html": True},
    {"run_status": 42},
    {"hide_new_runs": 0.15},
    {"delay": 0.05},
]
# How a run can end by itself: the second way is its job's time limit.
ENDS: list[tuple[Status, str | None]] = [
    ("error", None),
    ("cancelled", "This run timed out after running for 1 minute."),
    *[cast("tuple[Status, str | None]", ("success", None))] * 4,
]


@dataclass
class RandomEvents:
    """What happens in a lifecycle."""

    random: random.Random
    events: list[str] = field(default_factory=list)
    # Of the last try.
    error: BaseException | None = None

    def happens(self, event: str, probability: float) -> bool:
        """Decide whether something happens, and note it."""
        happens = self.random.random() < probability
        if happens:
            self.events.append(event)
        return happens


def own_runs(cloud: LocalDbtCloud, lifecycle: TaskLifecycle) -> list[dict[str, Any]]:
    """Return the runs of a lifecycle, oldest first."""
    return [run for run in cloud.runs() if f", {lifecycle.ti.run_id}, " in run["trigger"]["cause"]]


def active(cloud: LocalDbtCloud, lifecycle: TaskLifecycle) -> list[int]:
    """Return the IDs of the runs of a lifecycle that have not ended."""
    return [run["id"] for run in own_runs(cloud, lifecycle) if run["in_progress"]]


def duplicates(cloud: LocalDbtCloud, lifecycle: TaskLifecycle) -> list[int]:
    """Return the IDs of runs that should never have been created.

    Such a run was created while another run of the same task instance was active, or after one had succeeded
    without a clear in between.
    """
    runs = own_runs(cloud, lifecycle)
    return [
        run["id"]
        for index, run in enumerate(runs)
        if any(was_active(one, run) or had_succeeded(lifecycle, one, run) for one in runs[:index])
    ]


def was_active(earlier: dict[str, Any], run: dict[str, Any]) -> bool:
    """Return whether an earlier run of the same task instance was active when a run was created."""
    ended, created = earlier["finished_at"], run["created_at"]
    return ended is None or datetime.fromisoformat(ended) > datetime.fromisoformat(created)


def had_succeeded(lifecycle: TaskLifecycle, earlier: dict[str, Any], run: dict[str, Any]) -> bool:
    """Return whether an earlier run succeeded, and nobody cleared the task between the two."""
    first, second = (int(re.findall(r"try (\d+) \[", one["trigger"]["cause"])[-1]) for one in (earlier, run))
    cleared = any(first < at <= second for at in lifecycle.cleared_tries)
    return earlier["is_success"] and not cleared


@contextmanager
def dbt_at_work(cloud: LocalDbtCloud, lifecycle: TaskLifecycle, seed: int) -> Iterator[None]:
    """End the lifecycle's runs one after the other, some badly, while the block runs."""
    stop, chance = threading.Event(), random.Random(seed)

    def work() -> None:
        while not stop.wait(chance.uniform(0.01, 0.15)):
            for run_id in active(cloud, lifecycle)[:1]:
                cloud.set_run(run_id, *chance.choice(ENDS), only_if_active=True)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def one_try(
    cloud: LocalDbtCloud, lifecycle: TaskLifecycle, chance: RandomEvents, task_states: TaskStates
) -> str:
    """Run one try under random faults; return success, failed, retry or clear."""
    chance.error = None
    cloud.clear_faults()
    for path, method, faults in (("/run$", "POST", SUBMIT_FAULTS), ("/runs", "GET", POLL_FAULTS)):
        if chance.happens(f"{method} in fault", 0.5):
            fault = chance.random.choice(faults)
            chance.events.append(str(fault))
            cloud.add_fault(path, method=method, times=chance.random.randint(1, 4), **fault)
    killed_at = None
    if chance.happens("the worker is killed", 0.3):
        killed_at = chance.random.choice(["start", "answer", "job_run_url", "job_run_id", "run_results"])
        chance.events.append(killed_at)
    try:
        waiting = lifecycle.execute(killed_at)
        if isinstance(waiting, int):
            return "success"
        if chance.happens("the triggerer restarts", 0.2):
            abandon(waiting)
        if chance.happens("somebody cancels the run", 0.05):
            cloud.client.post(f"runs/{waiting.run_id}/cancel/")
        task_states.current = "deferred"
        if chance.happens("a triggerer that was replaced wakes", 0.2):
            asyncio.run(waiting.on_kill())
        task_states.current = None
        if chance.happens("somebody clears the task", 0.1):
            asyncio.run(waiting.on_kill())
            assert active(cloud, lifecycle) == [], chance.events
            return "clear"
        task_states.current = chance.random.choice(["failed", "success", "deleted"])
        if chance.happens("somebody marks the task failed", 0.05):
            asyncio.run(waiting.on_kill())
            assert active(cloud, lifecycle) == [], chance.events
            return "failed"
        task_states.current = "running"
        lifecycle.resume(waiting, killed_at)
        return "success"
    except (Killed, AirflowException) as error:
        chance.events.append(f"{type(error).__name__}: {error}")
        chance.error = error
        may_retry = (
            not isinstance(error, AirflowFailException) and lifecycle.ti.try_number <= lifecycle.ti.max_tries
        )
        if may_retry and chance.happens("somebody clears the task between two tries", 0.2):
            return "clear"
        return "retry" if may_retry else "failed"


def abandon(trigger: DbtCloudRunJobTrigger) -> None:
    """Stop the triggerer during the wait; another one runs the trigger again."""

    async def begin() -> None:
        task = asyncio.create_task(trigger.wait())
        await asyncio.sleep(0.025)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(begin())


def run_lifecycle(
    cloud: LocalDbtCloud, number: int, task_states: TaskStates
) -> tuple[TaskLifecycle, RandomEvents, str]:
    """Run one lifecycle to its end."""
    chance = RandomEvents(random.Random(SEED + number))
    lifecycle = TaskLifecycle(
        ti=TaskInstance(run_id=f"lifecycle_{number}", max_tries=RETRIES),
        retries=RETRIES,
        outage_tolerance=chance.random.choice([0.15, 30]),
        execution_timeout=timedelta(seconds=chance.random.choice([0.1, 30, 30, 30])),
        deferrable=chance.random.random() < 0.8,
        check_interval=0.05,
        hook_params={"retry_delay": 0.01, "timeout_seconds": 0.5, "max_requests_per_minute": 6000},
    )
    with dbt_at_work(cloud, lifecycle, SEED + number):
        while (outcome := one_try(cloud, lifecycle, chance, task_states)) in ("retry", "clear"):
            keep_store = chance.random.random() < 0.5
            lifecycle.clear(keep_store=keep_store) if outcome == "clear" else lifecycle.retry()
    cloud.clear_faults()
    return lifecycle, chance, outcome


@pytest.mark.parametrize("part", range(PARTS))
def test_randomized_task_lifecycles_neither_duplicate_nor_lose_runs(
    held: LocalDbtCloud, part: int, monkeypatch: pytest.MonkeyPatch, task_states: TaskStates
) -> None:
    # Longer than a fault hides a new run.
    monkeypatch.setattr("include.dbt_cloud.submitter.CONSISTENCY_WINDOW", 0.25)
    outcomes, met = set(), set()
    for number in range(part, LIFECYCLES, PARTS):
        lifecycle, chance, outcome = run_lifecycle(held, number, task_states)
        story = f"lifecycle {number}, {outcome}: {chance.events}"
        runs = own_runs(held, lifecycle)
        assert duplicates(held, lifecycle) == [], story
        earlier, last = runs[:-1], runs[-1] if runs else NO_RUN
        # Only a last try that was cut short can leave its run active: no other try follows.
        cut_short = isinstance(chance.error, CUT_SHORT)
        assert not any(run["in_progress"] for run in earlier), story
        assert not last["in_progress"] or cut_short, story
        match outcome, chance.error:
            case "success", _:
                assert last["is_success"], story
            case _, DbtCloudJobRunFailed():
                assert last["is_error"], story
            case _, DbtCloudJobRunCancelled():
                assert last["is_cancelled"], story
                assert "somebody cancels the run" in chance.events, story
            case _, DbtCloudJobRunTimedOut():
                assert last["is_cancelled"], story
            case _:
                assert cut_short or chance.events[-1] == "somebody marks the task failed", story
        outcomes.add(outcome)
        met |= {event.split(":")[0] for event in chance.events}
    assert outcomes == {"success", "failed"}
    # Every kind of event happened.
    assert {"Killed", "DbtCloudJobRunFailed"} <= met
    assert len(met) > 15

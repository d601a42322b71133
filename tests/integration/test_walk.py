"""Two hundred task lifecycles under random faults: no doubled run, none left active, no wrong outcome."""

import asyncio
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

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
from tests.integration.life import Life
from tests.task_instance import Killed, TaskInstance

pytestmark = pytest.mark.end_to_end

LIVES, PARTS = 200, 4
SEED = 20261122
RETRIES = 3
CUT_SHORT = (Killed, DbtCloudJobRunUnreachable, DbtCloudConnectionError, DbtCloudResponseError)

# What may meet the request that starts a run, and what the requests that ask after it.
STARTS: list[dict[str, Any]] = [
    {"drop": "before"},
    {"drop": "after"},
    {"status": 503},
    {"status": 503, "acts": True},
    {"status": 429, "retry_after": 0},
    {"html": True, "acts": True},
    {"html": True},
]
POLLS: list[dict[str, Any]] = [
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
    *4 * [("success", None)],
]


@dataclass
class Fate:
    """What befalls a life."""

    random: random.Random
    events: list[str] = field(default_factory=list)
    # Of the last try.
    error: BaseException | None = None

    def befalls(self, event: str, probability: float) -> bool:
        """Decide whether something happens, and note it."""
        happens = self.random.random() < probability
        if happens:
            self.events.append(event)
        return happens


def own_runs(cloud: LocalDbtCloud, life: Life) -> list[dict[str, Any]]:
    """Return the runs of a life, oldest first."""
    return [run for run in cloud.runs() if f"/{life.ti.run_id}/" in run["trigger"]["cause"]]


def active(cloud: LocalDbtCloud, life: Life) -> list[int]:
    """Return the IDs of the runs of a life that have not ended."""
    return [run["id"] for run in own_runs(cloud, life) if run["in_progress"]]


def doubled(runs: list[dict[str, Any]]) -> list[int]:
    """Return the IDs of runs that should never have been created.

    Such a run was created while another run of the same task instance was active, or after one with the same
    cause had succeeded.

    :param runs: Runs, oldest first.
    """
    return [
        run["id"]
        for index, run in enumerate(runs)
        if any(was_active(earlier, run) or had_succeeded(earlier, run) for earlier in runs[:index])
    ]


def was_active(earlier: dict[str, Any], run: dict[str, Any]) -> bool:
    """Return whether an earlier run of the same task instance was active when a run was created."""
    # A tag up to the "#" names the task instance; behind it is the number that a clear changes.
    name, _ = run["trigger"]["cause"].split("#")
    ended, created = earlier["finished_at"], run["created_at"]
    overlaps = ended is None or datetime.fromisoformat(ended) > datetime.fromisoformat(created)
    return overlaps and name in earlier["trigger"]["cause"]


def had_succeeded(earlier: dict[str, Any], run: dict[str, Any]) -> bool:
    """Return whether an earlier run with the same cause succeeded, no matter when: see ``was_active``."""
    return earlier["is_success"] and earlier["trigger"]["cause"] == run["trigger"]["cause"]


@contextmanager
def dbt_at_work(cloud: LocalDbtCloud, life: Life, seed: int) -> Iterator[None]:
    """End the life's runs one after the other, some badly, while the block runs."""
    stop, chance = threading.Event(), random.Random(seed)

    def work() -> None:
        while not stop.wait(chance.uniform(0.01, 0.15)):
            for run_id in active(cloud, life)[:1]:
                cloud.set_run(run_id, *chance.choice(ENDS), only_if_active=True)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def one_try(cloud: LocalDbtCloud, life: Life, fate: Fate) -> str:
    """Live through one try under random faults; return success, failed, retry or clear."""
    fate.error = None
    cloud.clear_faults()
    for path, method, troubles in (("/run$", "POST", STARTS), ("/runs", "GET", POLLS)):
        if fate.befalls(f"{method} in trouble", 0.5):
            trouble = fate.random.choice(troubles)
            fate.events.append(str(trouble))
            cloud.add_fault(path, method=method, times=fate.random.randint(1, 4), **trouble)
    killed_at = None
    if fate.befalls("the worker is killed", 0.3):
        killed_at = fate.random.choice(["start", "answer", "job_run_url", "job_run_id", "run_results"])
        fate.events.append(killed_at)
    try:
        waiting = life.execute(killed_at)
        if isinstance(waiting, int):
            return "success"
        if fate.befalls("the triggerer restarts", 0.2):
            abandon(waiting)
        if fate.befalls("somebody cancels the run", 0.05):
            cloud.client.post(f"runs/{waiting.run_id}/cancel/")
        if fate.befalls("somebody clears the task", 0.1):
            asyncio.run(waiting.on_kill())
            assert active(cloud, life) == [], fate.events
            return "clear"
        if fate.befalls("somebody marks the task failed", 0.05):
            asyncio.run(waiting.on_kill())
            assert active(cloud, life) == [], fate.events
            return "failed"
        life.resume(waiting, killed_at)
        return "success"
    except (Killed, AirflowException) as error:
        fate.events.append(f"{type(error).__name__}: {error}")
        fate.error = error
        may_retry = not isinstance(error, AirflowFailException) and life.ti.try_number <= life.ti.max_tries
        if may_retry and fate.befalls("somebody clears the task between two tries", 0.2):
            return "clear"
        return "retry" if may_retry else "failed"


def abandon(trigger: DbtCloudRunJobTrigger) -> None:
    """End the triggerer in the middle of the wait; the trigger is run anew by another."""

    async def begin() -> None:
        task = asyncio.create_task(trigger.wait())
        await asyncio.sleep(0.025)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(begin())


def live(cloud: LocalDbtCloud, number: int) -> tuple[Life, Fate, str]:
    """Live one life to its end."""
    fate = Fate(random.Random(SEED + number))
    life = Life(
        ti=TaskInstance(run_id=f"life_{number}", max_tries=RETRIES),
        retries=RETRIES,
        outage_tolerance=fate.random.choice([0.15, 30]),
        execution_timeout=timedelta(seconds=fate.random.choice([0.1, 30, 30, 30])),
        deferrable=fate.random.random() < 0.8,
        check_interval=0.05,
        hook_params={"retry_delay": 0.01, "timeout_seconds": 0.5},
    )
    with dbt_at_work(cloud, life, SEED + number):
        while (outcome := one_try(cloud, life, fate)) in ("retry", "clear"):
            life.clear() if outcome == "clear" else life.retry()
    cloud.clear_faults()
    return life, fate, outcome


@pytest.mark.parametrize("part", range(PARTS))
def test_randomized_task_lifecycles_neither_double_nor_lose_runs(
    held: LocalDbtCloud, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Longer than a fault hides a new run.
    monkeypatch.setattr("include.dbt_cloud.submitter.CONSISTENCY_WINDOW", 0.25)
    outcomes, met = set(), set()
    for number in range(part, LIVES, PARTS):
        life, fate, outcome = live(held, number)
        story = f"life {number}, {outcome}: {fate.events}"
        runs = own_runs(held, life)
        assert doubled(runs) == [], story
        *earlier, last = runs or [None]
        # Only a last try that ended before the run did can leave it behind: no other follows.
        cut_short = isinstance(fate.error, CUT_SHORT)
        assert not any(run["in_progress"] for run in earlier), story
        assert last is None or not last["in_progress"] or cut_short, story
        match outcome, fate.error:
            case "success", _:
                assert last["is_success"], story
            case _, DbtCloudJobRunFailed():
                assert last["is_error"], story
            case _, DbtCloudJobRunCancelled():
                assert last["is_cancelled"], story
                assert "somebody cancels the run" in fate.events, story
            case _, DbtCloudJobRunTimedOut():
                assert last["is_cancelled"], story
            case _:
                assert cut_short or fate.events[-1] == "somebody marks the task failed", story
        outcomes.add(outcome)
        met |= {event.split(":")[0] for event in fate.events}
    assert outcomes == {"success", "failed"}
    # The walk went everywhere.
    assert {"Killed", "DbtCloudJobRunFailed"} <= met
    assert len(met) > 15

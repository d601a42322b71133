"""The cursor of a watcher: whatever the order in which runs appear, none is missed."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from include.dbt_cloud.job_run import JobRun
from include.dbt_cloud.run_cursor import OVERLAP, RunCursor

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def ended(run_id: int, at: datetime) -> JobRun:
    """Return a run that ended then."""
    return JobRun(run_id, 10, finished_at=at.isoformat())


def ids(runs: list[JobRun]) -> list[int]:
    return [run.id for run in runs]


def test_a_run_is_returned_as_new_only_once() -> None:
    runs = [ended(1, NOON), ended(2, NOON + SECOND)]
    new, cursor = RunCursor(NOON).advance(runs)
    assert ids(new) == [1, 2]
    new, cursor = cursor.advance([*runs, ended(3, NOON + 2 * SECOND)])
    assert ids(new) == [3]
    assert cursor.position == NOON + 2 * SECOND


def test_runs_of_the_same_microsecond_are_told_apart() -> None:
    _, cursor = RunCursor(NOON).advance([ended(1, NOON)])
    new, _ = cursor.advance([ended(1, NOON), ended(2, NOON)])
    assert ids(new) == [2]


@pytest.mark.parametrize("late", [timedelta(), SECOND, OVERLAP])
def test_a_run_that_is_listed_late_is_new(late: timedelta) -> None:
    _, cursor = RunCursor(NOON).advance([ended(1, NOON)])
    new, _ = cursor.advance([ended(2, NOON - late), ended(1, NOON)])
    assert ids(new) == [2]


def test_runs_that_ended_before_the_overlap_are_ignored() -> None:
    new, cursor = RunCursor(NOON).advance([ended(1, NOON - OVERLAP - SECOND)])
    assert (new, cursor) == ([], RunCursor(NOON))


def test_a_run_missing_from_one_list_is_not_returned_again() -> None:
    _, cursor = RunCursor(NOON).advance([ended(1, NOON), ended(2, NOON + SECOND)])
    _, cursor = cursor.advance([ended(2, NOON + SECOND)])
    new, _ = cursor.advance([ended(1, NOON), ended(2, NOON + SECOND)])
    assert new == []


def test_only_runs_of_the_overlap_are_remembered() -> None:
    _, cursor = RunCursor(NOON).advance([ended(1, NOON), ended(2, NOON + 2 * OVERLAP)])
    assert set(cursor.seen) == {2}


def test_a_loaded_cursor_equals_the_saved_one() -> None:
    _, cursor = RunCursor(NOON).advance([ended(1, NOON), ended(2, NOON + timedelta(microseconds=1))])
    assert RunCursor.from_json(cursor.as_json()) == cursor


@dataclass
class World:
    """A random account: each run ends at one second and is listed at the same or a later one."""

    random: Random

    def __post_init__(self) -> None:
        seconds = 2 * int(OVERLAP.total_seconds())
        self.last = seconds * 2
        # Few distinct ends, so that many are equal.
        step = self.random.choice([1, 60])
        ends = [self.random.randrange(0, seconds, step) for _ in range(self.random.randint(1, 60))]
        late = [self.random.choice([0, 0, 1, self.random.randint(0, seconds // 2)]) for _ in ends]
        self.listed = {
            run_id: (end, end + delay)
            for run_id, (end, delay) in enumerate(zip(self.random.sample(ends, len(ends)), late, strict=True))
        }

    def poll(self, since: datetime, second: int, page: int) -> list[JobRun]:
        """Return what a poll reads then: pages, until one is not full or lies beyond the overlap."""
        runs = [
            ended(run_id, NOON + end * SECOND)
            for run_id, (end, listed) in self.listed.items()
            if listed <= second and NOON + end * SECOND >= since
        ]
        runs.sort(key=lambda run: (run.finished_at or "", run.id))
        length = page
        while length <= len(runs) and (runs[length - 1].finished_at or "") <= (since + OVERLAP).isoformat():
            length += page
        return runs[:length]


@pytest.mark.parametrize("seed", range(int(os.environ.get("RANDOM_LIFECYCLES", 200))))
def test_no_run_is_missed_and_none_comes_twice_without_a_restart(seed: int) -> None:
    random = Random(seed)
    world, cursor = World(random), RunCursor(NOON)
    saved, handled, since_saved = cursor, [], []
    second, restarts = 0, 0
    while second <= world.last:
        # The poll may read more than this watcher needs.
        since = cursor.start - random.choice([0, 0, 700]) * SECOND
        new, cursor = cursor.advance(world.poll(since, second, random.choice([1, 3, 100])))
        handled += ids(new)
        since_saved += ids(new)
        if random.random() < 0.3:
            saved, since_saved = RunCursor.from_json(cursor.as_json()), []
        if random.random() < 0.1:
            # Killed before the cursor was saved: only what came since then comes again.
            cursor, restarts = saved, restarts + 1
            for run_id in since_saved:
                handled.remove(run_id)
            since_saved = []
        # The last one is an outage.
        second += random.choice([5, 30, 60, 1500])
    for _ in world.listed:
        new, cursor = cursor.advance(world.poll(cursor.start, world.last, 3))
        handled += ids(new)
    assert sorted(handled) == sorted(world.listed)

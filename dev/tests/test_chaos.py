"""What the chaos test counts as a violation, and how it injects faults into processes."""

import random
import signal
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from local_dbt_cloud.testing import LocalDbtCloud

from dev.chaos import requirements
from dev.chaos.dbt import DURATION, Dbt
from dev.chaos.faults import FAULTS, Injection, shuffled
from dev.chaos.foreign_runs import ForeignResult, ForeignRuns
from dev.chaos.outcome import (
    CANCELED,
    CANCELED_THROUGH_API,
    DUPLICATE,
    MISSED,
    ORPHAN,
    REPEATED,
    STUCK,
    WRONG_VERDICT,
    DbtRun,
    Decision,
    Outcome,
)
from dev.chaos.plot import COLORS, draw
from dev.chaos.report import INTRO, PAGE, Result, render_page
from dev.chaos.service import Service
from scripts.exceptions import UserError
from tests.waiting import wait_until


def at(seconds: float) -> datetime:
    """Return a time some seconds after the start of the Dag run."""
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)


def run(
    run_id: int, created: float, ended: float | None, status: str = "Success", message: str = ""
) -> DbtRun:
    """Return a dbt run with times in seconds."""
    return DbtRun(run_id, status, at(created), None if ended is None else at(ended), message)


def canceled(run_id: int, created: float, ended: float) -> DbtRun:
    """Return a dbt run that the operator canceled."""
    return run(run_id, created, ended, "Cancelled", CANCELED_THROUGH_API)


STOPPED_IN_DBT_CLOUD = run(1, 0, 5, "Cancelled", "The local dbt Cloud was stopped.")
CLEAR, MARK_FAILED, MARK_SUCCESS = (Decision(kind, at(4)) for kind in ("clear", "failed", "success"))


@pytest.mark.parametrize(
    ("runs", "decisions", "state"),
    [
        ([run(1, 0, 5)], [], "success"),
        ([run(1, 0, 5, "Error"), run(2, 6, 9)], [], "success"),
        ([run(1, 0, 5, "Error")], [], "failed"),
        ([STOPPED_IN_DBT_CLOUD], [], "failed"),
        ([canceled(1, 0, 5), run(2, 6, 9)], [CLEAR], "success"),
        ([run(1, 0, 3), run(2, 6, 9)], [CLEAR], "success"),
        ([canceled(1, 0, 5)], [MARK_FAILED], "failed"),
        ([canceled(1, 0, 5)], [MARK_SUCCESS], "success"),
        ([], [], "failed"),
    ],
    ids=[
        "success", "retry", "failure", "canceled in dbt Cloud", "clear of a waiting task",
        "clear after success", "marked failed", "marked success", "no run",
    ],
)  # fmt: skip
def test_correct_outcomes_have_no_violations(
    runs: list[DbtRun], decisions: list[Decision], state: str
) -> None:
    assert Outcome("dag", "run", runs, decisions, state).violations() == []


@pytest.mark.parametrize(
    ("runs", "decisions", "state", "violations"),
    [
        ([run(1, 0, 5), run(2, 4, 9)], [], "success", [DUPLICATE]),
        ([run(1, 0, 5), run(2, 6, 9)], [], "success", [DUPLICATE]),
        ([STOPPED_IN_DBT_CLOUD, run(2, 6, 9)], [], "success", [DUPLICATE]),
        ([run(1, 0, 7), run(2, 6, 9)], [CLEAR], "success", [DUPLICATE]),
        ([run(1, 0, None, "Running")], [MARK_FAILED], "failed", [ORPHAN]),
        ([run(1, 0, 5)], [], "failed", [WRONG_VERDICT]),
        ([run(1, 0, 5, "Error")], [], "success", [WRONG_VERDICT]),
        ([], [], "success", [WRONG_VERDICT]),
        ([run(1, 0, 3)], [CLEAR], "success", [WRONG_VERDICT]),
        ([run(1, 0, None, "Running")], [], "deferred", [STUCK]),
        ([canceled(1, 0, 5)], [], "failed", [CANCELED]),
        ([canceled(1, 0, 3), run(2, 6, 9)], [CLEAR], "success", [CANCELED]),
    ],
    ids=[
        "two active", "again after success", "again after a cancellation", "two active after a clear",
        "active after a mark", "failed for success", "success for an error", "success without a run",
        "cleared without a new run", "stuck", "canceled", "canceled before the clear",
    ],
)  # fmt: skip
def test_violations_are_found(
    runs: list[DbtRun], decisions: list[Decision], state: str, violations: list[str]
) -> None:
    assert Outcome("dag", "run", runs, decisions, state).violations() == violations


def test_a_run_that_outlived_its_task_is_an_orphan_although_it_ended_later() -> None:
    outcome = Outcome("dag", "run", [run(1, 0, 60)], [MARK_SUCCESS], "success", orphans={1})
    assert outcome.violations() == [ORPHAN]


def test_dbt_ends_only_runs_that_need_not_be_canceled(
    local_dbt_cloud: LocalDbtCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dev.chaos.dbt.START_DELAY", (0, 0))
    monkeypatch.setattr("dev.chaos.dbt.DURATION", (0, 0))
    monkeypatch.setattr("dev.chaos.dbt.ENDINGS", {"success": 1})
    local_dbt_cloud.pause()
    ends, stays = (local_dbt_cloud.trigger(101)["id"] for _ in range(2))
    dbt: Any = Dbt(random.Random(1))
    for _ in range(2):
        time.sleep(0.01)
        dbt.update(local_dbt_cloud, [DbtRun.from_api(one) for one in local_dbt_cloud.runs()], {ends})
    statuses = {one["id"]: one["status_humanized"] for one in local_dbt_cloud.runs()}
    assert statuses == {ends: "Success", stays: "Running"}


def test_a_run_that_no_dag_handled_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local_dbt_cloud: LocalDbtCloud
) -> None:
    monkeypatch.setattr("dev.chaos.dbt.START_DELAY", (0, 0))
    monkeypatch.setattr("dev.chaos.dbt.DURATION", (0, 0))
    monkeypatch.setattr("dev.chaos.foreign_runs.WARM_UP_INTERVAL", 0)
    monkeypatch.setattr("dev.chaos.foreign_runs.JOB_ID", 101)
    handled = tmp_path / "handled.txt"
    cloud: Any = local_dbt_cloud
    cloud.pause()
    skipped = cloud.create_run("success")
    handled.write_text(f"{skipped + 1}\n")
    runs = ForeignRuns(handled, random.Random(1))
    assert runs.wait_until_watched(cloud)
    cloud.create_run("success")
    runs.update(cloud, cloud.runs(), start=True)
    for _ in range(3):
        time.sleep(0.01)
        runs.update(cloud, cloud.runs(), start=False)
    assert len(cloud.runs()) == 3
    assert runs.result() == ForeignResult(frozenset(range(skipped + 1, skipped + 3)), Counter([skipped + 1]))
    assert runs.result().violations() == [MISSED]
    assert not runs.has_settled()
    handled.write_text(f"{skipped + 1}\n{skipped + 2}\n{skipped + 2}\n")
    assert runs.result().violations() == [REPEATED]
    assert runs.has_settled()


def test_the_same_seed_gives_the_same_plan() -> None:
    def plan(seed: int) -> tuple[list[str], list[Any]]:
        chance = random.Random(seed)
        dbt = Dbt(chance)
        return [fault.title for fault in shuffled(chance)], [dbt._plan(0) for _ in range(5)]

    assert plan(1) == plan(1) != plan(2)
    assert Counter(plan(1)[0]) == {fault.title: fault.weight for fault in FAULTS}
    assert all(one.ends_at > DURATION[0] for one in plan(1)[1])


@pytest.fixture
def service(tmp_path: Path) -> Any:
    """A process with a child, each of which writes a file as long as it runs."""
    script = f"""
import multiprocessing, pathlib, time
def work(name):
    while True:
        pathlib.Path({str(tmp_path)!r}, name).touch()
        time.sleep(0.02)
multiprocessing.get_context("fork").Process(target=work, args=["child"]).start()
work("parent")
"""
    service = Service("service", [sys.executable, "-c", script], {}, tmp_path / "logs")
    service.start()
    wait_until(lambda: (tmp_path / "child").exists() and (tmp_path / "parent").exists())
    yield service
    service.thaw()
    service.stop()


def writes(directory: Path) -> set[str]:
    """Return which processes of the service are running."""
    for name in ("child", "parent"):
        (directory / name).unlink(missing_ok=True)
    time.sleep(0.3)
    return {name for name in ("child", "parent") if (directory / name).exists()}


def test_a_frozen_service_does_nothing_until_it_is_thawed(service: Service, tmp_path: Path) -> None:
    service.freeze()
    assert (service.is_alive, service.frozen) == (True, True)
    time.sleep(0.1)
    assert writes(tmp_path) == set()
    service.thaw()
    assert writes(tmp_path) == {"child", "parent"}


def test_a_killed_service_leaves_no_process_and_can_start_again(service: Service, tmp_path: Path) -> None:
    service.kill()
    assert (service.is_alive, service.killed) == (False, True)
    assert service.process.returncode == -signal.SIGKILL
    assert writes(tmp_path) == set()
    service.start()
    assert (service.is_alive, service.killed) == (True, False)
    wait_until(lambda: writes(tmp_path) == {"child", "parent"})


def test_missing_servers_are_named_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        requirements.shutil, "which", lambda name, path=None: name == "initdb" and "/bin/initdb"
    )
    with pytest.raises(UserError, match=r"redis-server not found: .*apt-get install postgresql redis-server"):
        requirements.find_servers()


def test_the_page_begins_with_the_counts_and_lists_each_violation() -> None:
    bad = Outcome("chaos_deferrable", "chaos_7", [run(1, 0, 5), run(2, 4, 9)], [], "success")
    good = Outcome("chaos_deferrable", "chaos_8", [run(3, 0, 5)], [], "success")
    foreign = ForeignResult(frozenset({4, 5, 6}), Counter([4, 4, 5]))
    injections = [Injection(FAULTS[0].title, at(0))] * 3
    page = render_page(Result([bad, good], injections, 0, foreign, 1, 60, 0, 0.0))
    assert page.index(INTRO) == 0
    assert "| **1** | **0** | **0** | **0** | **0** | **1** | **1** |" in page
    assert f"| {FAULTS[0].title} | 3 |" in page
    assert "| chaos_deferrable chaos_7 | duplicate run | success | 1 Success; 2 Success |" in page
    assert "chaos_8" not in page


def test_the_picture_has_a_row_per_fault_and_a_bar_per_run(tmp_path: Path) -> None:
    outcomes = [Outcome("chaos_deferrable", "chaos_7", [run(1, 0, 5), run(2, 6, 9)], [], "success")]
    draw(outcomes, [Injection(FAULTS[1].title, at(0))], tmp_path / "plot.svg")
    picture = (tmp_path / "plot.svg").read_text()
    assert all(fault.title in picture for fault in FAULTS)
    assert picture.count(f"fill: {COLORS['Success']}") == 3  # two runs, and the legend


@pytest.mark.skipif(not PAGE.exists(), reason="make chaos has not been run")
def test_the_page_reports_no_violation() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page.startswith(INTRO)
    assert "| **0** | **0** | **0** | **0** | **0** | **0** | **0** |" in page
    assert [fault.title for fault in FAULTS if f"| {fault.title} | " not in page] == []

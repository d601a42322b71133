"""A task that handles each run once, although its event can arrive twice."""

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import Asset

from include.dbt_cloud import unhandled_runs as module
from include.dbt_cloud.unhandled_runs import unhandled_runs
from tests.task_instance import Store, TaskInstance

RUNS = Asset("runs")


class Task:
    """A task with the state store of its asset, which all tasks share."""

    def __init__(self, store: Store, task_id: str = "report") -> None:
        self.store = store
        self.ti = TaskInstance(task_id=task_id)

    def handle(self, *run_ids: int, fails_at: int | None = None) -> list[int]:
        """Handle events with these runs; return the runs that were handled."""
        events = [
            SimpleNamespace(extra={"payload": {"runs": [run]}}, timestamp=at)
            for at, run in enumerate(({"run_id": one, "outcome": "error"} for one in run_ids), start=1)
        ]
        others = [
            SimpleNamespace(extra=extra, timestamp=0)
            for extra in ({"from_rest_api": True}, {"payload": "a text"}, {"run_id": 99, "status": "success"})
        ]
        context: dict[str, Any] = {
            "ti": self.ti,
            "asset_state_store": {RUNS: self.store},
            "triggering_asset_events": {RUNS: [*reversed(events), *others]},
        }
        handled = []
        for run in unhandled_runs(context, RUNS):
            if run["run_id"] == fails_at:
                break
            handled.append(run["run_id"])
        return handled


def test_an_event_that_arrives_twice_is_handled_once() -> None:
    task = Task(Store())
    assert task.handle(1, 2, 1) == [1, 2]
    assert task.handle(2, 3) == [3]


def test_a_retry_begins_with_the_run_that_failed() -> None:
    task = Task(Store())
    assert task.handle(1, 2, 3, fails_at=2) == [1]
    assert task.handle(1, 2, 3) == [2, 3]


def test_each_task_handles_each_run() -> None:
    store = Store()
    assert Task(store).handle(1) == Task(store, "other").handle(1) == [1]


def test_only_the_newest_runs_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_REMEMBERED", 2)
    task = Task(Store())
    assert task.handle(1, 2, 3) == [1, 2, 3]
    assert task.handle(2, 3) == []
    assert task.handle(1) == [1]


def test_a_dag_run_that_a_user_started_has_no_runs() -> None:
    context: dict[str, Any] = {
        "ti": TaskInstance(),
        "asset_state_store": {RUNS: Store()},
        "triggering_asset_events": {},
    }
    assert list(unhandled_runs(context, RUNS)) == []

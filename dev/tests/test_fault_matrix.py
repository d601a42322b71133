"""Durable runs: never two, never lost, never wrongly judged, whatever goes wrong in between."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from types import SimpleNamespace
from typing import Any

import pytest

from dev.faults import matrix as matrix_module
from dev.faults import scenarios
from dev.faults.case import Case
from dev.faults.facts import Facts
from dev.faults.matrix import Matrix, play
from dev.faults.report import AS_IT_MUST_BE, INTRO, PAGE
from dev.faults.scenarios import SCENARIOS, Scenario
from dev.faults.stack import DbtRun


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    """What was seen of each fault, with our operator; `make faults` plays the stock one too."""
    return play(SCENARIOS, ["ours"], tmp_path_factory.mktemp("faults"))


@pytest.mark.end_to_end
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_no_run_is_doubled_or_lost_or_wrongly_judged(scenario: Scenario, matrix: Matrix) -> None:
    facts: Facts = matrix[scenario.name, "ours"]
    assert not facts.trouble, facts
    assert facts.carried_out == scenario.runs, facts
    assert facts.state == scenario.state, facts
    # None is left active, and what was queued too much was never carried out.
    assert {run.status for run in facts.runs if not run.began} <= {"Cancelled"}, facts
    assert not facts.verdict(scenario), facts
    assert not facts.unsaid(scenario), facts


def test_the_page_is_what_the_command_writes_of_these_faults() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page.startswith(INTRO)
    rows = [line.strip("|").split(" | ") for line in page.splitlines() if line.startswith("| ")][1:]
    assert [title.strip() for title, *_ in rows] == [scenario.title for scenario in SCENARIOS]
    for title, ours, stock in rows:
        assert ours.startswith(f"**{AS_IT_MUST_BE}**"), title
        assert re.match(rf"\*\*({AS_IT_MUST_BE}|✗ [a-z, ]+)\*\*<br>\d run", stock), title


class FakeStack:
    """A stack in which every Dag run has succeeded, and every job has one successful run."""

    one_at_a_time = Lock()

    def __init__(self, directory: Path) -> None:
        self.ends = directory
        task = {"state": "success", "try_number": 1}
        self.airflow_api = SimpleNamespace(
            trigger_dag=lambda *_: None,
            get_dag_run=lambda *_: {"state": "success"},
            get_task_instances=lambda *_: {"trigger_job_1": task},
            get_log=lambda *_: [],
            get_xcom=lambda *_: None,
        )

    @contextlib.contextmanager
    def up(self) -> Iterator[Any]:
        yield self

    def runs_of(self, job_id: int) -> list[DbtRun]:
        return [DbtRun(1, "Success", False, True)]


@pytest.mark.parametrize("alone", [False, True], ids=["side by side", "alone"])
def test_a_scenario_that_fails_names_itself_and_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: bool
) -> None:
    def fail(case: Case) -> None:
        raise KeyError("no such thing")

    def hang(case: Case) -> None:
        raise TimeoutError("waited in vain for tasks to wait")

    played = (
        Scenario("fails", "Fails", fail, alone=alone),
        Scenario("hangs", "Hangs", hang, alone=alone),
        Scenario("goes_well", "Goes well", Case.start, alone=alone),
    )
    monkeypatch.setattr(scenarios, "SCENARIOS", played)
    monkeypatch.setattr(matrix_module, "Stack", FakeStack)
    matrix = play(played, ["ours"], tmp_path)
    assert {name: facts.trouble for (name, _), facts in matrix.items()} == {
        "fails": "fails_ours: KeyError: 'no such thing'",
        "hangs": "hangs_ours: waited in vain for tasks to wait",
        "goes_well": "",
    }
    assert {facts.state for facts in matrix.values()} == {"success"}


def test_a_case_whose_facts_cannot_be_read_has_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = Scenario("goes_well", "Goes well", Case.start)
    monkeypatch.setattr(scenarios, "SCENARIOS", (scenario,))
    stack = FakeStack(tmp_path)
    del stack.airflow_api.get_log
    facts = Case(scenario, "ours", stack).play()
    assert re.match("goes_well_ours: AttributeError: .*get_log", facts.trouble)

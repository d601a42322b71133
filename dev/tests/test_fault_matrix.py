"""Durable runs: never two, never lost, never wrongly judged, whatever goes wrong in between."""

import re

import pytest

from dev.faults.facts import Facts
from dev.faults.matrix import Matrix, play
from dev.faults.report import AS_IT_MUST_BE, INTRO, PAGE
from dev.faults.scenarios import SCENARIOS, Scenario

pytestmark = pytest.mark.end_to_end


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    """What was seen of each fault, with our operator; `make faults` plays the stock one too."""
    return play(SCENARIOS, ["ours"], tmp_path_factory.mktemp("faults"))


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

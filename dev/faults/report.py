"""Writes what was seen as docs/faults.md."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version

from dev.faults.facts import AS_IT_MUST_BE, Facts
from dev.faults.scenarios import SCENARIOS, VARIANTS, Scenario
from scripts.settings import PROJECT

PAGE = PROJECT / "docs" / "faults.md"
LONGEST_WORDS = 200
PACKAGES = ("apache-airflow", "apache-airflow-providers-dbt-cloud", "dbt-core", "dbt-duckdb")

INTRO = """\
# When something goes wrong in between

What becomes of a task, and of its dbt Cloud run, when a request is lost, a process is killed or a person
steps in. Each fault was brought about twice in a real Airflow, with real dbt runs in the local dbt
Cloud: once with this project's `DbtCloudRunJobOperator`, once with the stock provider's. Both had the
same arguments: deferrable, one retry, and what the fault says.

Three rules must hold: one Dag run starts one dbt run and no second one, the task's state is what became
of the run, and nobody who ends a task leaves its run behind. Each cell says whether they held (✓, or ✗
and what went wrong), how the runs ended that dbt Cloud carried out, the task's state, and what the task
said: its errors and warnings, and the line with which it copes. (A lost run is looked for during 15
seconds here, and during 60 elsewhere.)

Nothing in the table is written by hand: `make faults` plays all faults again and writes this page, and
the tests hold this project's column. [scenarios.py](../dev/faults/scenarios.py) is the list.
"""
HEAD = "| fault | this project | stock provider |\n|---|---|---|\n"


def page(matrix: Mapping[tuple[str, str], Facts]) -> str:
    """Return the whole page."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    day = datetime.now(UTC).date().isoformat()
    return f"{INTRO}\nPlayed on {day} with {versions}.\n\n{HEAD}" + "".join(
        f"{row(scenario, matrix)}\n" for scenario in SCENARIOS
    )


def row(scenario: Scenario, matrix: Mapping[tuple[str, str], Facts]) -> str:
    """Return a row of the table; a cell is empty where a variant was not played."""
    played = [matrix.get((scenario.name, variant)) for variant in VARIANTS]
    cells = [_cell(scenario, facts) if facts else "" for facts in played]
    return f"| {' | '.join([scenario.title, *cells])} |"


def _cell(scenario: Scenario, facts: Facts) -> str:
    wrongs = ", ".join(facts.verdict(scenario))
    runs = [f"{run.status}{', left active' if run.active else ''}" for run in facts.runs if run.began]
    queued = sum(not run.began for run in facts.runs)
    lines = [
        f"**✗ {wrongs}**" if wrongs else f"**{AS_IT_MUST_BE}**",
        f"{len(runs)} {'run' if len(runs) == 1 else 'runs'}: {', '.join(runs)}"
        + (f"; {queued} cancelled in the queue" if queued else ""),
        f"task: {facts.state}",
        *(f"“{_in_short(words, facts)}”" for words in facts.words),
    ]
    return "<br>".join(lines).replace("|", "\\|")


def _in_short(words: str, facts: Facts) -> str:
    """Return the first line of what was said, its runs counted from 1, without addresses of this stack."""
    numbers = {str(run.id): str(number) for number, run in enumerate(facts.runs, start=1)}
    words = re.sub(r" See it at \S+", "", words.strip().splitlines()[0])
    words = re.sub(r"(?<=[Rr]un )\d+|(?<=runs/)\d+", lambda found: numbers.get(found[0], found[0]), words)
    words = re.sub(r"localhost:\d+|host='localhost', port=\d+", "its host", words)
    return words if len(words) <= LONGEST_WORDS else f"{words[:LONGEST_WORDS]}…"

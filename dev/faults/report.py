"""Render the observations as docs/faults.md."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version

from dev.faults.observation import Observation
from dev.faults.scenarios import SCENARIOS, VARIANTS, Scenario
from scripts.settings import PROJECT

PAGE = PROJECT / "docs" / "faults.md"
PASSED = "✓"
MAX_HIGHLIGHT_LENGTH = 200
RUN_ID = r"(?<=[Rr]un )\d+|(?<=runs/)\d+"
PACKAGES = ("apache-airflow", "apache-airflow-providers-dbt-cloud", "dbt-core", "dbt-duckdb")

INTRO = """\
# Fault injection results

When a request is lost, a process is killed or a user intervenes, this project's `DbtCloudRunJobOperator`
starts no duplicate dbt run, leaves no run behind, and reports the real outcome of the run. The stock
provider's operator is shown for comparison. Each fault is injected in a real Airflow with real dbt runs.
"""
METHOD = """\
## Details

Each fault is injected twice, once with each operator, in the local dbt Cloud. Both have the same arguments:
deferrable, one retry, and those that the fault needs.

Three rules must hold:

1. A Dag run starts one dbt run. A second one starts only after a failure or a clear.
2. The task succeeds if and only if its run succeeds, unless a user sets the state of the task.
3. When a user ends the task, its run is canceled; nothing else cancels it.

Each cell shows whether they hold (✓, or ✗ with the violation), the final statuses of the runs that dbt
executed, the state of the task, and its errors, warnings and recovery messages. The operator looks for a
lost run for 15 seconds here; the default is 60.

This page is generated: `make faults` writes it, `make test` repeats a part of this project's column, and
[scenarios.py](../dev/faults/scenarios.py) defines the faults.
"""
HEAD = "| fault | this project | stock provider |\n|---|---|---|\n"


def render_page(matrix: Mapping[tuple[str, str], Observation]) -> str:
    """Return the page as Markdown: a summary, then the details."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    day = datetime.now(UTC).date().isoformat()
    rows = "".join(f"{render_row(scenario, matrix)}\n" for scenario in SCENARIOS)
    return f"{INTRO}\n{_render_summary(matrix)}\n{METHOD}\nMeasured on {day} with {versions}.\n\n{HEAD}{rows}"


def _render_summary(matrix: Mapping[tuple[str, str], Observation]) -> str:
    """Return a line for each fault, as a code block: a table of so many rows would not fit on a screen."""
    verdicts = {
        one.label: [render_verdict(one, matrix[one.name, variant]) for variant in VARIANTS]
        for one in SCENARIOS
    }
    passed = [f"{column.count(PASSED)} {PASSED}" for column in zip(*verdicts.values(), strict=True)]
    lines = {"fault": ["ours", "provider"], f"all {len(SCENARIOS)}": passed} | verdicts
    text = "\n".join(f"{name:28}{ours:8}{provider}" for name, (ours, provider) in lines.items())
    return f"```\n{text}\n```\n"


def render_verdict(scenario: Scenario, observation: Observation) -> str:
    """Return whether the rules hold, or the violations."""
    violations = ", ".join(observation.violations(scenario))
    return f"✗ {violations}" if violations else PASSED


def render_row(scenario: Scenario, matrix: Mapping[tuple[str, str], Observation]) -> str:
    """Return a row of the table; the cell of a variant that was not run is empty."""
    observations = [matrix.get((scenario.name, variant)) for variant in VARIANTS]
    cells = [_render_cell(scenario, one) if one else "" for one in observations]
    return f"| {' | '.join([f'**{scenario.label}**<br>{scenario.title}', *cells])} |"


def _render_cell(scenario: Scenario, observation: Observation) -> str:
    runs = [
        f"{run.status}{', still active' if run.active else ''}" for run in observation.runs if run.started
    ]
    queued = sum(not run.started for run in observation.runs)
    # If SQLite reused the ID of a trigger, Airflow logs a line of another trial here.
    ids = {str(run.id) for run in observation.runs}
    highlights = [one for one in observation.highlights if ids.issuperset(re.findall(RUN_ID, one))]
    lines = [
        f"**{render_verdict(scenario, observation)}**",
        f"{len(runs)} {'run' if len(runs) == 1 else 'runs'}: {', '.join(runs)}"
        + (f"; {queued} canceled in the queue" if queued else ""),
        f"task: {observation.state}",
        *(f"“{_abbreviate(highlight, observation)}”" for highlight in highlights),
    ]
    return "<br>".join(lines).replace("|", "\\|")


def _abbreviate(text: str, observation: Observation) -> str:
    """Return the first line of a message, its runs numbered from 1, without URLs and ports of the stack."""
    numbers = {str(run.id): str(number) for number, run in enumerate(observation.runs, start=1)}
    text = re.sub(r" See \S+", "", text.strip().splitlines()[0])
    text = re.sub(RUN_ID, lambda match: numbers.get(match[0], match[0]), text)
    text = re.sub(r"localhost:\d+|host='localhost', port=\d+", "its host", text)
    return text if len(text) <= MAX_HIGHLIGHT_LENGTH else f"{text[:MAX_HIGHLIGHT_LENGTH]}…"

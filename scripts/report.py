"""The table at the end of `make run`."""

from dataclasses import dataclass
from typing import Any

from rich.table import Table

from scripts.progress import Progress

KINDS = {
    "model": "models",
    "test": "tests",
    "unit_test": "unit tests",
    "seed": "seeds",
    "snapshot": "snapshots",
}


@dataclass(frozen=True)
class Outcome:
    """What one Dag run came to; ``results`` counts the nodes that the dbt run built, by resource type."""

    title: str
    dag_run_id: str
    dag_run_url: str
    task_states: dict[str, str]
    dbt_run: dict[str, Any]
    results: dict[str, int]


def show(progress: Progress, outcomes: list[Outcome]) -> None:
    """Print the outcomes, each a column, and the links to their pages."""
    table = Table(header_style="bold")
    table.add_column()
    for outcome in outcomes:
        table.add_column(outcome.title, overflow="fold")
    table.add_row("Dag run", *(outcome.dag_run_id for outcome in outcomes))
    for task_id in outcomes[0].task_states:
        table.add_row(f"  {task_id}", *(outcome.task_states[task_id] for outcome in outcomes))
    table.add_row("dbt run", *(_dbt_run(outcome.dbt_run) for outcome in outcomes))
    table.add_row("  cause", *(outcome.dbt_run["trigger"]["cause"] for outcome in outcomes))
    table.add_row("  built", *(_results(outcome.results) for outcome in outcomes))
    table.add_row("  took", *(outcome.dbt_run["run_duration_humanized"] for outcome in outcomes))
    progress.console.print(table)
    for outcome in outcomes:
        progress.line(f"{outcome.title}:")
        progress.line(f"  Dag run  {outcome.dag_run_url}")
        progress.line(f"  dbt run  {outcome.dbt_run['href']}")
    progress.line(f"Done in {progress.seconds:.0f} seconds. `make start` brings these pages up.")


def _dbt_run(run: dict[str, Any]) -> str:
    return f"{run['id']}, {run['status_humanized']}"


def _results(results: dict[str, int]) -> str:
    return (
        ", ".join(f"{results[kind]} {name}" for kind, name in KINDS.items() if kind in results) or "nothing"
    )

"""The table at the end of `make run`."""

from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table

from scripts.dbt_cloud_api import DbtCloudApi
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
    """What one Dag run came to: the states of its tasks, and the dbt run that it started or met."""

    title: str
    dag_run_id: str
    dag_run_url: str
    dag_run_seconds: float
    task_states: dict[str, str]
    dbt_run_id: int


def show(progress: Progress, outcomes: list[Outcome], dbt_cloud: DbtCloudApi) -> None:
    """Print the outcomes, each a column, and the links to their pages."""
    runs = [dbt_cloud.get_run(outcome.dbt_run_id) for outcome in outcomes]
    table = Table(header_style="bold")
    table.add_column()
    for outcome in outcomes:
        table.add_column(outcome.title, overflow="fold")
    table.add_row("Dag run", *(outcome.dag_run_id for outcome in outcomes))
    table.add_row("  took", *(f"{outcome.dag_run_seconds:.0f} seconds" for outcome in outcomes))
    for task_id in outcomes[0].task_states:
        table.add_row(f"  {task_id}", *(outcome.task_states[task_id] for outcome in outcomes))
    table.add_row("dbt run", *(f"{run['id']}, {run['status_humanized']}" for run in runs))
    table.add_row("  cause", *(escape(run["trigger"]["cause"]) for run in runs))
    table.add_row("  built", *(_built(dbt_cloud.count_results(run["id"])) for run in runs))
    table.add_row("  took", *(run["run_duration_humanized"] for run in runs))
    progress.console.print(table)
    for outcome, run in zip(outcomes, runs, strict=True):
        progress.line(f"{outcome.title}:")
        progress.line(f"  Dag run  {outcome.dag_run_url}")
        progress.line(f"  dbt run  {run['href']}")


def _built(counts: dict[str, int]) -> str:
    return ", ".join(f"{counts[kind]} {name}" for kind, name in KINDS.items() if kind in counts) or "nothing"

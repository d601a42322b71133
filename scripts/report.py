"""The summary that `make run` prints at its end."""

from collections.abc import Mapping
from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table

from scripts.dbt_cloud_api import DbtCloudApi
from scripts.progress import Progress

NODE_TYPES = {
    "model": "models",
    "test": "tests",
    "unit_test": "unit tests",
    "seed": "seeds",
    "snapshot": "snapshots",
}


@dataclass(frozen=True)
class DagRunResult:
    """The result of a Dag run.

    :param title: What the Dag run shows.
    :param seconds: Duration of the Dag run.
    :param task_states: States of the tasks by task ID.
    :param dbt_run_id: The dbt run that the Dag run started or found active.
    """

    title: str
    url: str
    seconds: float
    task_states: dict[str, str]
    dbt_run_id: int


def print_summary(progress: Progress, results: list[DagRunResult], dbt_cloud: DbtCloudApi) -> None:
    """Print a table with a column for each Dag run, and links to the runs.

    The table fits 80 columns, the width of a new terminal: long texts are below it.
    """
    dbt_runs = [dbt_cloud.get_run(result.dbt_run_id) for result in results]
    table = Table(header_style="bold")
    # Names are not cut; the other columns wrap.
    table.add_column("Dag run", no_wrap=True)
    for result in results:
        table.add_column(result.title)
    for task_id in results[0].task_states:
        table.add_row(f"  {task_id}", *(result.task_states[task_id] for result in results))
    table.add_row("  duration", *(f"{result.seconds:.0f} s" for result in results))
    table.add_row("dbt run", *(f"{run['id']}, {run['status_humanized']}" for run in dbt_runs))
    table.add_row("  built", *(_format_counts(dbt_cloud.count_results(run["id"])) for run in dbt_runs))
    table.add_row("  duration", *(run["run_duration_humanized"] for run in dbt_runs))
    progress.console.print(table)
    for result, dbt_run in zip(results, dbt_runs, strict=True):
        progress.print(f"{result.title}:")
        progress.print(f"  Dag run  {result.url}")
        progress.print(f"  dbt run  {dbt_run['href']}")
        progress.print(f"  cause    {escape(dbt_run['trigger']['cause'])}")


def _format_counts(counts: Mapping[str, int]) -> str:
    return (
        ", ".join(f"{counts[kind]} {name}" for kind, name in NODE_TYPES.items() if kind in counts)
        or "nothing"
    )

"""Measures the lag between the end of a dbt run and the start of the task that waited for it, in Airflow."""

import json
import statistics
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from dev.benchmark.context import BenchmarkContext
from dev.benchmark.dbt_cloud import ended_at, local_dbt_cloud
from dev.benchmark.part import OURS, PROVIDER_DEFAULT, TUTORIAL, Computed, Part, Row, Target
from dev.temporary_stack import TemporaryDbtCloud, airflow, settings_in
from scripts.airflow_api import AirflowApi
from scripts.failure import Failure
from scripts.settings import Settings

DAGS = Path(__file__).parent / "workloads" / "lag_dags"
TASK_ID = "trigger_job"
# By their Dag: where they stand in the table, and the number of their first job.
COLUMNS = {"lag_ours": OURS, "lag_provider": PROVIDER_DEFAULT}
FIRST_JOB = {"lag_ours": 100, "lag_provider": 200}
# What the provider waits between two polls by default: its runs last up to so much longer, evenly spread.
PROVIDER_INTERVAL, TUTORIAL_INTERVAL = 60, 600
RUNS = 20
# Between two pairs of Dag runs: tasks and dbt are not to queue for two cores.
SECONDS_BETWEEN = 12
PATIENCE = 600
MOST_SECONDS = 6
# The first that the process of a task logs, each time that it starts.
FIRST_LINE = "::group::Pre Execute"

HOW = (
    "A real Airflow makes {runs} Dag runs with our operator and {runs} with the provider's, side by "
    "side, both deferrable and otherwise as they are: ours asks every 5 seconds, the provider's every "
    "60. Each has real dbt run for up to a minute, evenly spread, so that the ends lie anywhere between "
    "two requests. Seconds from the `finished_at` of the dbt run to the first line that the resumed "
    "task logs. The tutorial's, whose worker asks every 600 seconds, is computed: half of that in the "
    "median, all of it at worst."
)


@dataclass(frozen=True)
class Wait:
    """A Dag run, and the job that it runs."""

    dag_id: str
    job_id: int

    def lag(self, settings: Settings, dbt_cloud: TemporaryDbtCloud) -> float | None:
        """Return the seconds from the end of the dbt run to the resumed task, None before that."""
        began = resumed_at(settings, self.dag_id, str(self.job_id), TASK_ID)
        ended = ended_at(dbt_cloud, self.job_id) if began else None
        return (began - datetime.fromisoformat(ended)).total_seconds() if began and ended else None


def measure(bench: BenchmarkContext) -> Part:
    """Run both Dags.

    :raises Failure: Airflow does not start, or a Dag run does not come to its end; says why.
    """
    runs = 2 if bench.quick else RUNS
    # Each lasts longer than the one before it, up to the provider's interval.
    apart = PROVIDER_INTERVAL // RUNS
    waits = [
        Wait(dag_id, first + number * apart) for number in range(runs) for dag_id, first in FIRST_JOB.items()
    ]
    settings = settings_in(bench.directory / "lag")
    job_ids = [wait.job_id for wait in waits]
    # On two busy cores a transaction takes longer than the five seconds that others wait for it.
    database = f"sqlite:///{settings.airflow_home}/airflow.db?timeout=60"
    environment = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database}
    with bench.progress.waiting("Starting the local dbt Cloud and Airflow") as status:
        with local_dbt_cloud(settings, job_ids=job_ids) as dbt_cloud:
            with airflow(settings, DAGS, "lag_provider", environment) as api:
                bench.progress.done("Airflow is up")
                status.update(f"Running {runs} Dag runs each")
                _start(api, waits)
                lags = _collect(bench, settings, dbt_cloud, waits)
    return _part(lags, runs)


def resumed_at(settings: Settings, dag_id: str, run_id: str, task_id: str) -> datetime | None:
    """Return when a deferred task logged its first line after it had waited, None if it has not yet."""
    log = settings.airflow_home / "logs" / f"dag_id={dag_id}" / f"run_id={run_id}"
    path = log / f"task_id={task_id}" / "attempt=1.log"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    starts = [json.loads(line)["timestamp"] for line in lines if f'"{FIRST_LINE}"' in line]
    return datetime.fromisoformat(starts[1]) if len(starts) > 1 else None


def _start(api: AirflowApi, waits: list[Wait]) -> None:
    for wait in waits:
        api.trigger_dag(wait.dag_id, str(wait.job_id))
        time.sleep(SECONDS_BETWEEN / len(COLUMNS))


def _collect(
    bench: BenchmarkContext, settings: Settings, dbt_cloud: TemporaryDbtCloud, waits: list[Wait]
) -> dict[str, list[float]]:
    lags: dict[str, list[float]] = {column: [] for column in COLUMNS.values()}
    left, end = list(waits), time.monotonic() + PATIENCE
    while left:
        if time.monotonic() > end:
            raise Failure(f"{len(left)} Dag runs have not ended after {PATIENCE} seconds, such as {left[0]}.")
        time.sleep(2)
        for wait in list(left):
            if (lag := wait.lag(settings, dbt_cloud)) is not None:
                lags[COLUMNS[wait.dag_id]].append(lag)
                left.remove(wait)
    for column, seconds in lags.items():
        bench.progress.done(f"Lag, {column}: median {statistics.median(seconds):.1f} s")
    return lags


def _part(lags: dict[str, list[float]], runs: int) -> Part:
    medians = {column: statistics.median(seconds) for column, seconds in lags.items()}
    worst = {column: max(seconds) for column, seconds in lags.items()}
    rows = [
        Row("median, seconds", medians | {TUTORIAL: Computed(TUTORIAL_INTERVAL / 2)}, "{:,.1f}"),
        Row(f"worst of {runs}, seconds", worst | {TUTORIAL: Computed(TUTORIAL_INTERVAL)}, "{:,.1f}"),
    ]
    text = f"median under {MOST_SECONDS} seconds, end to end"
    targets = [Target(text, f"{medians[OURS]:.1f} seconds", medians[OURS] < MOST_SECONDS)]
    title = "Lag between the end of the dbt run and the resumed task"
    return Part("lag", title, HOW.format(runs=runs), rows, targets)

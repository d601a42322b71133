"""Benchmark the time from the end of a dbt run until the deferred task that waited for it resumes."""

import json
import statistics
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from dev.benchmark.context import BenchmarkContext
from dev.benchmark.dbt_cloud import local_dbt_cloud, newest_run_finished_at
from dev.benchmark.result import OURS, PROVIDER_DEFAULT, TUTORIAL, BenchmarkResult, Computed, Row, Target
from dev.temporary_stack import TemporaryDbtCloud, airflow, settings_in
from scripts.airflow_api import AirflowApi
from scripts.exceptions import UserError
from scripts.settings import Settings

DAGS = Path(__file__).parent / "workloads" / "lag_dags"
TASK_ID = "trigger_job"
# Columns of the table, and IDs of the first job, by Dag ID.
COLUMNS = {"lag_ours": OURS, "lag_provider": PROVIDER_DEFAULT}
FIRST_JOB_IDS = {"lag_ours": 100, "lag_provider": 200}
# Seconds between two polls, by default and in the tutorial.
PROVIDER_INTERVAL, TUTORIAL_INTERVAL = 60, 600
DAG_RUNS = 20
# Seconds between two pairs of Dag runs, so that tasks and dbt do not wait for one of two cores.
START_INTERVAL = 12
DAG_RUNS_TIMEOUT = 600
MAX_MEDIAN_SECONDS = 4
# First log line of a task's process, each time the task starts or resumes.
FIRST_LINE = "::group::Pre Execute"

METHOD = (
    "A real Airflow makes {runs} Dag runs with our operator and {runs} with the provider's at the same time, "
    "both deferrable and with their default intervals of 2 and 60 seconds. The dbt runs take up to a minute, "
    "evenly distributed, so that they end at any time between two polls. The lag is the time from "
    "`finished_at` of the dbt run to the first log line of the resumed task. The tutorial's, whose worker "
    "polls every 600 seconds, is computed: half of that as the median, all of it as the worst case."
)


@dataclass(frozen=True)
class DagRun:
    """A Dag run, whose ID is the ID of the job that it runs."""

    dag_id: str
    job_id: int

    def lag(self, settings: Settings, dbt_cloud: TemporaryDbtCloud) -> float | None:
        """Return the seconds from the end of the dbt run to the resumed task; None before that."""
        resumed = resumed_at(settings, self.dag_id, str(self.job_id), TASK_ID)
        finished = newest_run_finished_at(dbt_cloud, self.job_id) if resumed else None
        if resumed is None or finished is None:
            return None
        return (resumed - datetime.fromisoformat(finished)).total_seconds()


def measure(context: BenchmarkContext) -> BenchmarkResult:
    """Run both Dags.

    :raises UserError: Airflow did not start, or a Dag run did not end.
    """
    runs = 2 if context.quick else DAG_RUNS
    # A job runs for as many seconds as the last two digits of its ID: up to the provider's interval.
    step = PROVIDER_INTERVAL // DAG_RUNS
    dag_runs = [
        DagRun(dag_id, first + number * step)
        for number in range(runs)
        for dag_id, first in FIRST_JOB_IDS.items()
    ]
    settings = settings_in(context.directory / "lag")
    job_ids = [dag_run.job_id for dag_run in dag_runs]
    # SQLite's default of 5 seconds is too short for transactions on two busy cores.
    database = f"sqlite:///{settings.airflow_home}/airflow.db?timeout=60"
    environment = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database}
    with context.progress.status("Starting the local dbt Cloud and Airflow") as status:
        with local_dbt_cloud(settings, job_ids=job_ids) as dbt_cloud:
            with airflow(settings, DAGS, "lag_provider", environment) as api:
                context.progress.done("Airflow ready")
                status.update(f"Running each Dag {runs} times")
                _start(api, dag_runs)
                lags = _collect(context, settings, dbt_cloud, dag_runs)
    return _result(lags, runs)


def resumed_at(settings: Settings, dag_id: str, run_id: str, task_id: str) -> datetime | None:
    """Return when a deferred task logged its first line after it resumed; None if it has not yet."""
    log = settings.airflow_home / "logs" / f"dag_id={dag_id}" / f"run_id={run_id}"
    path = log / f"task_id={task_id}" / "attempt=1.log"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    starts = [json.loads(line)["timestamp"] for line in lines if f'"{FIRST_LINE}"' in line]
    return datetime.fromisoformat(starts[1]) if len(starts) > 1 else None


def _start(api: AirflowApi, dag_runs: list[DagRun]) -> None:
    for dag_run in dag_runs:
        api.trigger_dag(dag_run.dag_id, str(dag_run.job_id))
        time.sleep(START_INTERVAL / len(COLUMNS))


def _collect(
    context: BenchmarkContext, settings: Settings, dbt_cloud: TemporaryDbtCloud, dag_runs: list[DagRun]
) -> dict[str, list[float]]:
    """Wait for all Dag runs; return their lags by column."""
    lags: dict[str, list[float]] = {column: [] for column in COLUMNS.values()}
    remaining, deadline = list(dag_runs), time.monotonic() + DAG_RUNS_TIMEOUT
    while remaining:
        if time.monotonic() > deadline:
            raise UserError(
                f"{len(remaining)} Dag runs are still active after {DAG_RUNS_TIMEOUT} seconds, "
                f"among them {remaining[0].dag_id} {remaining[0].job_id}."
            )
        time.sleep(2)
        for dag_run in list(remaining):
            if (lag := dag_run.lag(settings, dbt_cloud)) is not None:
                lags[COLUMNS[dag_run.dag_id]].append(lag)
                remaining.remove(dag_run)
    for column, seconds in lags.items():
        context.progress.done(f"Lag, {column}: median {statistics.median(seconds):.1f} s")
    return lags


def _result(lags: dict[str, list[float]], runs: int) -> BenchmarkResult:
    medians = {column: statistics.median(seconds) for column, seconds in lags.items()}
    worst = {column: max(seconds) for column, seconds in lags.items()}
    rows = [
        Row("median, seconds", medians | {TUTORIAL: Computed(TUTORIAL_INTERVAL / 2)}, "{:,.1f}"),
        Row(f"worst of {runs}, seconds", worst | {TUTORIAL: Computed(TUTORIAL_INTERVAL)}, "{:,.1f}"),
    ]
    median = medians[OURS]
    target = Target(
        f"median under {MAX_MEDIAN_SECONDS} seconds", f"{median:.1f} seconds", median < MAX_MEDIAN_SECONDS
    )
    title = "Lag between the end of the dbt run and the resumed task"
    return BenchmarkResult("lag", title, METHOD.format(runs=runs), rows, [target])

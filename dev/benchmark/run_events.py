"""Benchmark how soon runs that were started elsewhere start a Dag, while a hundred jobs are watched."""

import random
import statistics
import time
from datetime import datetime
from pathlib import Path

from dev.benchmark.context import BenchmarkContext
from dev.benchmark.dbt_cloud import count_requests, local_dbt_cloud, newest_run_finished_at
from dev.benchmark.result import OURS, BenchmarkResult, Row, Target
from dev.temporary_stack import TemporaryDbtCloud, airflow, settings_in
from scripts.airflow_api import AirflowApi
from scripts.exceptions import UserError

DAGS = Path(__file__).parent / "workloads" / "event_dags"
DAG_ID = "watch_jobs"
JOBS = 100
# Seconds: between two polls; to let all watchers start.
POLL_INTERVAL, WARM_UP = 5, 30
POLLS, QUICK_POLLS = 12, 3
RUNS, QUICK_RUNS = 20, 2
START_TIMEOUT = 60
MAX_REQUESTS, MAX_MEDIAN_SECONDS = 1.1, 10

METHOD = (
    "A real Airflow has a Dag that is scheduled on the assets of {jobs} dbt Cloud jobs, each with a watcher "
    "that polls every 5 seconds. First the requests of {polls} polls are counted. Then {runs} runs of random "
    "jobs end one after the other, at random moments between two polls. The lag is the time from "
    "`finished_at` of the dbt run to the `start_date` of the Dag run."
)


def measure(context: BenchmarkContext) -> BenchmarkResult:
    """Count the requests of the watchers, then start the Dag by runs that end.

    :raises UserError: Airflow did not start, or a run did not start the Dag.
    """
    polls, runs = (QUICK_POLLS, QUICK_RUNS) if context.quick else (POLLS, RUNS)
    settings = settings_in(context.directory / "run_events")
    with context.progress.status("Starting the local dbt Cloud and Airflow") as status:
        with local_dbt_cloud(settings, job_ids=list(range(1, JOBS + 1))) as dbt_cloud:
            with airflow(settings, DAGS, DAG_ID) as api:
                status.update(f"Watching {JOBS} jobs")
                time.sleep(WARM_UP)
                with count_requests(dbt_cloud) as count:
                    time.sleep(polls * POLL_INTERVAL)
                lags = [_lag(api, dbt_cloud) for _ in range(runs)]
    return _result(count[0] / polls, lags, polls)


def _lag(api: AirflowApi, dbt_cloud: TemporaryDbtCloud) -> float:
    """End a run of a random job; return the seconds until the Dag run that it starts."""
    before = {run["dag_run_id"] for run in api.get_dag_runs(DAG_ID)}
    time.sleep(random.uniform(0, POLL_INTERVAL))  # noqa: S311 - not a secret
    job_id = random.randint(1, JOBS)  # noqa: S311 - not a secret
    dbt_cloud.create_run(job_id=job_id)
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        for run in api.get_dag_runs(DAG_ID):
            if run["dag_run_id"] not in before and run["start_date"]:
                finished_at = newest_run_finished_at(dbt_cloud, job_id)
                started, ended = map(datetime.fromisoformat, (run["start_date"], str(finished_at)))
                return (started - ended).total_seconds()
        time.sleep(0.2)
    raise UserError(f"The Dag {DAG_ID} did not start within {START_TIMEOUT} seconds of the run's end.")


def _result(requests: float, lags: list[float], polls: int) -> BenchmarkResult:
    median = statistics.median(lags)
    rows = [
        Row("requests per poll", {OURS: requests}, "{:,.1f}"),
        Row("median lag, seconds", {OURS: median}, "{:,.1f}"),
        Row(f"worst lag of {len(lags)}, seconds", {OURS: max(lags)}, "{:,.1f}"),
    ]
    targets = [
        Target(f"one request per poll for {JOBS} jobs", f"{requests:.1f}", requests <= MAX_REQUESTS),
        Target(
            f"median lag under {MAX_MEDIAN_SECONDS} seconds",
            f"{median:.1f} seconds",
            median < MAX_MEDIAN_SECONDS,
        ),
    ]
    method = METHOD.format(jobs=JOBS, polls=polls, runs=len(lags))
    return BenchmarkResult("events", f"Runs started elsewhere, {JOBS} jobs watched", method, rows, targets)

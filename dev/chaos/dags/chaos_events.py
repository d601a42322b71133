"""A Dag that handles the runs of a job that a user starts in dbt Cloud."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import dag, task

from include.dbt_cloud.run_events import watched_asset
from include.dbt_cloud.unhandled_runs import unhandled_runs

RUNS = watched_asset("chaos_foreign_runs", job_ids=[9], poll_interval=1)


@dag(
    schedule=[RUNS],
    max_active_runs=1,
    # More than the faults can use up.
    default_args={"retries": 20, "retry_delay": timedelta(seconds=1)},
)
def chaos_events() -> None:
    @task(inlets=[RUNS])
    def handle(**context: Any) -> None:
        for run in unhandled_runs(context, RUNS):
            with Path(os.environ["CHAOS_HANDLED_FILE"]).open("a") as file:
                file.write(f"{run['run_id']}\n")

    handle()


chaos_events()

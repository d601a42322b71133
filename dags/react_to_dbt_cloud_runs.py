"""
### Report on dbt Cloud runs that were started elsewhere

This Dag reacts to runs of the job that dbt Cloud's schedule, CI or a person started. It starts seconds after
such a run has ended, and logs how the run ended, the results of its models and tests, and what failed first.
The runs of this Airflow's own Dags do not start it.

**Use it** to act in Airflow on whatever dbt Cloud does: alert, export, build what depends on it.

**Change** `report`, and the watched jobs and outcomes in `include/dbt_cloud_jobs.py`. Keep `inlets` and
`max_active_runs=1`: with them, `unhandled_runs` skips an event that Airflow delivers a second time. Watching
begins when you first unpause the Dag. If you pause it later, unpausing delivers all runs that ended in
between, in one Dag run.
"""

import logging
from datetime import timedelta
from typing import Any

from airflow.sdk import dag, task
from pendulum import datetime

from include.dbt_cloud.exceptions import DbtCloudRequestError
from include.dbt_cloud.hook import DbtCloudHook
from include.dbt_cloud.results import first_failed, format_results, read_run_results
from include.dbt_cloud.unhandled_runs import unhandled_runs
from include.dbt_cloud_jobs import RUNS_STARTED_ELSEWHERE

# Not print: Airflow's UI collapses printed lines.
log = logging.getLogger("airflow.task")


@dag(
    schedule=[RUNS_STARTED_ELSEWHERE],
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args={
        "owner": "data engineering",
        "retries": 2,
        "retry_delay": timedelta(seconds=30),
        "execution_timeout": timedelta(minutes=5),
    },
    tags=["dbt Cloud"],
    doc_md=__doc__,
)
def react_to_dbt_cloud_runs() -> None:
    @task(inlets=[RUNS_STARTED_ELSEWHERE])
    def report(**context: Any) -> dict[str, str]:
        hook, outcomes = DbtCloudHook("dbt_conn"), {}
        for event in unhandled_runs(context, RUNS_STARTED_ELSEWHERE):
            log.info("%s: %s", event["job_name"], event["message"])
            outcomes[str(event["run_id"])] = event["outcome"]
            try:
                run = hook.get_run(event["run_id"], related=["run_steps"])
                results = read_run_results(hook, run)
            except DbtCloudRequestError as error:
                # A retry would help after an outage, but not if the run was deleted.
                if error.retryable:
                    raise
                log.warning("No results of dbt Cloud run %s: %s", event["run_id"], error)
                continue
            if failed := first_failed(results):
                log.error("First: %s: %s", failed["unique_id"], failed["message"])
            log.info("dbt Cloud run %s: %s", run.id, format_results(results))
        return outcomes

    report()


react_to_dbt_cloud_runs()

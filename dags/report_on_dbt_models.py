"""
### Report on the models whenever the dbt Cloud job has built them

`check_before_running_dbt_cloud_job` updates the asset `dbt_cloud_job` when its run succeeds. That starts this
Dag, which finds in the asset's event what became of each model and test.

**Use it** as the beginning of whatever depends on fresh models: a report, an export, a forecast.

**Change** `report`, and the schedule if it is to wait for other assets too.
"""

import logging
from datetime import timedelta
from typing import Any

from airflow.sdk import Asset, dag, task
from airflow.sdk.exceptions import AirflowFailException
from pendulum import datetime

from include.dbt_cloud.results import format_results

JOB_ASSET = Asset("dbt_cloud_job")
# Printed lines take another route to the log, and may end up in a group that the UI collapses.
log = logging.getLogger("airflow.task")


@dag(
    schedule=[JOB_ASSET],
    start_date=datetime(2026, 1, 1),
    catchup=False,
    default_args={
        "owner": "data engineering",
        "retries": 2,
        "retry_delay": timedelta(seconds=30),
        "execution_timeout": timedelta(minutes=5),
    },
    tags=["dbt Cloud"],
    doc_md=__doc__,
)
def report_on_dbt_models() -> None:
    @task
    def report(triggering_asset_events: Any = None) -> dict[str, int]:
        events = triggering_asset_events.get(JOB_ASSET)
        results = events[-1].extra if events else {}
        if "nodes" not in results:
            raise AirflowFailException("No dbt results: they come with the asset, from the job's own Dag.")
        log.info("Run %s of dbt Cloud, %s: %s", results["run_id"], results["href"], format_results(results))
        return results["counts"]

    report()


report_on_dbt_models()

"""
### Report on the models after the dbt Cloud job has built them

`check_before_running_dbt_cloud_job` updates the asset `dbt_cloud_job` when its run succeeds. That starts this
Dag, which reads the result of each model and test from the asset event.

**Use it** as a starting point for anything that needs fresh models: a report, an export, a forecast.

**Change** `report`, and the schedule if the Dag must wait for other assets too.
"""

import logging
from datetime import timedelta
from typing import Any

from airflow.sdk import dag, task
from airflow.sdk.exceptions import AirflowFailException
from pendulum import datetime

from include.dbt_cloud.asset_events import event_facts
from include.dbt_cloud.results import format_results
from include.dbt_cloud_jobs import JAFFLE_SHOP

# Not print: Airflow's UI collapses printed lines.
log = logging.getLogger("airflow.task")


@dag(
    schedule=[JAFFLE_SHOP.asset],
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
        events = [one for one in event_facts(triggering_asset_events, JAFFLE_SHOP.asset) if "nodes" in one]
        if not events:
            raise AirflowFailException("The asset event has no dbt results: run the job's own Dag instead.")
        results = events[-1]
        log.info("dbt Cloud run %s: %s", results["run_id"], format_results(results))
        return results["counts"]

    report()


report_on_dbt_models()

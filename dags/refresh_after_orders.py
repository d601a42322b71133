"""
### Refresh what depends on two models

Each dbt model can be an asset, with an event whenever a run builds it:
`check_before_running_dbt_cloud_job` does that for `orders` and `customers`. This Dag starts when both models
have been built since its last run. It logs when and by which run each was built, and its number of rows if
the adapter reports it (DuckDB does not).

**Use it** for an export, a dashboard or a forecast that needs these models and no others.

**Change** the models in `include/dbt_cloud_jobs.py` and in `model_assets` of the task that builds them, and
`refresh`. Write `schedule=(ORDERS | CUSTOMERS)` to start after either one.
"""

import logging
from datetime import timedelta
from typing import Any

from airflow.sdk import dag, task
from pendulum import datetime

from include.dbt_cloud.asset_events import event_facts
from include.dbt_cloud_jobs import CUSTOMERS, ORDERS

# Not print: Airflow's UI collapses printed lines.
log = logging.getLogger("airflow.task")


@dag(
    schedule=[ORDERS, CUSTOMERS],
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
def refresh_after_orders() -> None:
    @task
    def refresh(triggering_asset_events: Any = None) -> list[str]:
        built = []
        for asset in (ORDERS, CUSTOMERS):
            # Several runs may have built the model since the last refresh: use the newest.
            for facts in event_facts(triggering_asset_events, asset)[-1:]:
                at, rows, href = (facts.get(key) for key in ("started_at", "rows", "href"))
                rows = "not known" if rows is None else rows
                log.info("%s: built at %s, rows: %s. See %s", asset.name, at, rows, href)
                built.append(asset.name)
        return built

    refresh()


refresh_after_orders()

"""The dbt Cloud jobs that the Dags run and watch, and the assets that they update: each defined once, here.

An asset that is defined again in a Dag file, without its watcher, would lose the watcher.
"""

from dataclasses import dataclass

from airflow.sdk import Asset

from include.dbt_cloud.model_assets import model_asset
from include.dbt_cloud.run_events import watched_asset


@dataclass(frozen=True)
class DbtCloudJob:
    """A job.

    :param name: What people call it in Airflow.
    :param id: Its ID, or the template of a variable that holds it.
    :param asset: What a successful run updates.
    """

    name: str
    id: int | str
    asset: Asset


JAFFLE_SHOP = DbtCloudJob("Jaffle shop", "{{ var.value.dbt_cloud_job_id }}", Asset("dbt_cloud_job"))
# More jobs for run_dbt_cloud_jobs. 100 is in the demo account: replace it by one of yours.
JOBS = [JAFFLE_SHOP, DbtCloudJob("Customers", 100, Asset("dbt_cloud_job_customers"))]

# Gets an event when a run ends that was not started by this Airflow.
RUNS_STARTED_ELSEWHERE = watched_asset("dbt_cloud_runs_started_elsewhere", job_ids=[JAFFLE_SHOP.id])

ORDERS = model_asset("jaffle_shop.orders")
CUSTOMERS = model_asset("jaffle_shop.customers")

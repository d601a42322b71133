"""Define the dbt Cloud jobs that the Dags run and watch, and their assets, once for all Dags.

Do not define an asset again in a Dag file: a second definition without the watcher removes the watcher.
"""

from dataclasses import dataclass

from airflow.sdk import Asset

from include.dbt_cloud.model_assets import model_asset
from include.dbt_cloud.run_events import watched_asset


@dataclass(frozen=True)
class DbtCloudJob:
    """A dbt Cloud job.

    :param name: Name of the job in Airflow.
    :param id: ID of the job, or a template that reads it from a variable.
    :param asset: Asset that a successful run updates.
    """

    name: str
    id: int | str
    asset: Asset


JAFFLE_SHOP = DbtCloudJob("Jaffle shop", "{{ var.value.dbt_cloud_job_id }}", Asset("dbt_cloud_job"))
# The jobs of run_dbt_cloud_jobs. Job 100 exists only in the demo account: replace it with one of yours.
JOBS = [JAFFLE_SHOP, DbtCloudJob("Customers", 100, Asset("dbt_cloud_job_customers"))]

# Gets an event when a run ends that this Airflow did not start.
RUNS_STARTED_ELSEWHERE = watched_asset("dbt_cloud_runs_started_elsewhere", job_ids=[JAFFLE_SHOP.id])

ORDERS = model_asset("jaffle_shop.orders")
CUSTOMERS = model_asset("jaffle_shop.customers")

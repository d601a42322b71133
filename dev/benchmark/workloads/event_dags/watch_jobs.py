"""A Dag that starts when a run of any of a hundred jobs ends, if the run was started elsewhere."""

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, AssetAny

from include.dbt_cloud.run_events import watched_asset

JOB_IDS = range(1, 101)

assets = [watched_asset(f"job_{job_id}", job_ids=[job_id]) for job_id in JOB_IDS]
with DAG("watch_jobs", schedule=AssetAny(*assets), catchup=False, max_active_runs=100):
    EmptyOperator(task_id="react")

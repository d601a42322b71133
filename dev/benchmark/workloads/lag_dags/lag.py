"""Two Dags, with our operator and the provider's, that run the job whose ID is the Dag run's ID."""

from airflow.providers.dbt.cloud.operators.dbt import DbtCloudRunJobOperator as ProviderOperator
from airflow.sdk import DAG

from include.dbt_cloud.operator import DbtCloudRunJobOperator

for variant, operator in {"ours": DbtCloudRunJobOperator, "provider": ProviderOperator}.items():
    with DAG(f"lag_{variant}", schedule=None, catchup=False, max_active_runs=100):
        # With their default intervals.
        operator(task_id="trigger_job", dbt_cloud_conn_id="dbt_conn", job_id="{{ run_id }}", deferrable=True)

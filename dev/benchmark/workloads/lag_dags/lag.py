"""Two Dags that run the job their Dag run is named after: with our operator, and with the provider's."""

from airflow.providers.dbt.cloud.operators.dbt import DbtCloudRunJobOperator as ProviderOperator
from airflow.sdk import DAG

from include.dbt_cloud.operator import DbtCloudRunJobOperator

for who, operator in {"ours": DbtCloudRunJobOperator, "provider": ProviderOperator}.items():
    with DAG(f"lag_{who}", schedule=None, catchup=False, max_active_runs=100):
        # How often they ask is left to each.
        operator(task_id="trigger_job", dbt_cloud_conn_id="dbt_conn", job_id="{{ run_id }}", deferrable=True)

"""Dags whose task instances the tests of the pages set: nothing here is ever executed."""

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import dag
from pendulum import datetime

from include.dbt_cloud.operator import DbtCloudRunJobOperator


@dag(schedule=None, start_date=datetime(2026, 1, 1), default_args={"retries": 2})
def dbt_pages() -> None:
    DbtCloudRunJobOperator(task_id="run_dbt", dbt_cloud_conn_id="dbt_conn", job_id=101, deferrable=True)
    DbtCloudRunJobOperator.partial(task_id="mapped", dbt_cloud_conn_id="dbt_conn").expand(job_id=[101, 102])
    EmptyOperator(task_id="other")


dbt_pages()

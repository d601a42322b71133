"""The Dag of the Astronomer tutorial, rewritten for Airflow 3."""

from airflow.providers.dbt.cloud.hooks.dbt import DbtCloudHook, DbtCloudJobRunStatus
from airflow.providers.dbt.cloud.operators.dbt import DbtCloudRunJobOperator
from airflow.providers.standard.operators.python import ShortCircuitOperator
from airflow.sdk import dag
from pendulum import datetime

DBT_CLOUD_CONN_ID = "dbt_conn"
JOB_ID = "{{ var.value.dbt_cloud_job_id }}"


def latest_run_has_ended(job_id: int | str, account_id: int | None = None) -> bool:
    """Return whether the job's latest run has ended."""
    hook = DbtCloudHook(DBT_CLOUD_CONN_ID)
    runs = hook.list_job_runs(account_id=account_id, job_definition_id=job_id, order_by="-id")
    latest_run = runs[0].json()["data"][0]
    return DbtCloudJobRunStatus.is_terminal(latest_run["status"])


@dag(schedule="@daily", start_date=datetime(2026, 1, 1), catchup=False)
def check_before_running_dbt_cloud_job() -> None:
    check_job_is_not_running = ShortCircuitOperator(
        task_id="check_job_is_not_running",
        python_callable=latest_run_has_ended,
        op_kwargs={"job_id": JOB_ID},
    )
    trigger_job = DbtCloudRunJobOperator(
        task_id="trigger_job",
        dbt_cloud_conn_id=DBT_CLOUD_CONN_ID,
        job_id=JOB_ID,  # type: ignore[arg-type] # a template; the provider declares int
        check_interval=600,
        timeout=3600,
    )
    check_job_is_not_running >> trigger_job


check_before_running_dbt_cloud_job()

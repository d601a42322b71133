"""A Dag that misses its deadline, and whose task emits lineage."""

from datetime import timedelta

from airflow.providers.openlineage.utils.selective_enable import enable_lineage
from airflow.sdk import DAG
from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference

from include.dbt_cloud.alerts import LATE, WebhookNotifier
from include.dbt_cloud.operator import DbtCloudRunJobOperator

with DAG(
    "late_with_lineage",
    schedule=None,
    deadline=DeadlineAlert(
        DeadlineReference.DAGRUN_QUEUED_AT,
        timedelta(seconds=1),
        AsyncCallback(WebhookNotifier, {"text": LATE}),
    ),
) as dag:
    DbtCloudRunJobOperator(
        task_id="trigger_job",
        dbt_cloud_conn_id="dbt_conn",
        job_id=101,
        deferrable=True,
        # The provider alone does not find the steps that replace the job's.
        steps_override=[
            "dbt seed --select raw_stores",
            "dbt run --select path:models/staging/stg_stores.sql",
        ],
    )
enable_lineage(dag)

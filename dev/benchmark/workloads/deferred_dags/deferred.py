"""Two Dags, with our operator and the provider's, whose mapped task waits for many runs at once."""

import os

from airflow.providers.dbt.cloud.operators.dbt import DbtCloudRunJobOperator as ProviderOperator
from airflow.sdk import DAG

from include.dbt_cloud.operator import DbtCloudRunJobOperator

TASKS = int(os.environ.get("DEFERRED_TASKS", 200))
OPERATORS: dict[str, type[ProviderOperator]] = {"ours": DbtCloudRunJobOperator, "provider": ProviderOperator}

for variant, operator in OPERATORS.items():
    with DAG(f"deferred_{variant}", schedule=None, catchup=False, max_active_tasks=TASKS):
        # With their default intervals.
        operator.partial(task_id="trigger_job", dbt_cloud_conn_id="dbt_conn", deferrable=True).expand(
            job_id=[1] * TASKS
        )

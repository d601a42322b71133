"""
### Do other work while a dbt Cloud job runs

`trigger_job` starts a run and ends at once. `other_work` runs in parallel, `wait_for_job` waits for the end
of the run without occupying a worker slot, and `get_run_results` downloads one of its artifacts.

**Use it** when there is other work to do meanwhile, or when several tasks wait for the same run.

**Change** `other_work`, and the path of the artifact, for example to `manifest.json` or `catalog.json`. Each
run leaves one file in the worker's temporary directory: delete it, or write to your storage instead.
"""

from datetime import timedelta
from tempfile import gettempdir
from typing import Any

from airflow.providers.dbt.cloud.operators.dbt import DbtCloudGetJobRunArtifactOperator
from airflow.sdk import dag, task
from pendulum import datetime

from include.dbt_cloud.operator import DbtCloudRunJobOperator
from include.dbt_cloud.sensor import DbtCloudJobRunSensor


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args={
        "owner": "data engineering",
        "retries": 2,
        "retry_delay": timedelta(seconds=30),
        "execution_timeout": timedelta(minutes=5),
        "dbt_cloud_conn_id": "dbt_conn",
    },
    tags=["dbt Cloud"],
    doc_md=__doc__,
)
def wait_for_dbt_cloud_job_with_sensor() -> None:
    trigger_job = DbtCloudRunJobOperator(
        task_id="trigger_job",
        job_id="{{ var.value.dbt_cloud_job_id }}",
        wait_for_termination=False,
    )

    run_id: Any = trigger_job.output  # an XComArg, which the provider does not annotate

    @task
    def other_work() -> str:
        return "Done while dbt runs."

    wait_for_job = DbtCloudJobRunSensor(
        task_id="wait_for_job",
        run_id=run_id,
        deferrable=True,
        execution_timeout=timedelta(hours=2),
    )

    get_run_results = DbtCloudGetJobRunArtifactOperator(
        task_id="get_run_results",
        run_id=run_id,
        path="run_results.json",
        output_file_name=gettempdir() + "/{{ dag.dag_id }}_{{ ti.run_id }}.json",
    )

    [wait_for_job, other_work()] >> get_run_results


wait_for_dbt_cloud_job_with_sensor()

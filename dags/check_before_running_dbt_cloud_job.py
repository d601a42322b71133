"""
### Run a dbt Cloud job, unless it is running already

`check_job_is_not_running` asks dbt Cloud, in one request, whether a run of the job is active. If so, its log
says which, since when and where to see it, and `trigger_job` is skipped. Otherwise `trigger_job` starts a
run, waits for its end without holding a worker, and logs what became of each model and test. A retry goes on
with the run of the try before it. A run that succeeds updates the asset `dbt_cloud_job`.

**Use it** when other people, or dbt Cloud's own schedule, may start the same job.

**Change** the job with the Airflow variable `dbt_cloud_job_id`, the account with the connection `dbt_conn`,
on a laptop both in the file `.env`. To run the job whenever the Dag that loads your data is done, instead of
daily, let that Dag's last task have `outlets=[Asset("loaded")]`, and write `schedule=[Asset("loaded")]` here.
"""

from datetime import timedelta

from airflow.sdk import Asset, dag, task
from pendulum import datetime

from include.dbt_cloud.hook import DbtCloudHook
from include.dbt_cloud.operator import DbtCloudRunJobOperator

DBT_CLOUD_CONN_ID = "dbt_conn"
JOB_ID = "{{ var.value.dbt_cloud_job_id }}"
JOB_ASSET = Asset("dbt_cloud_job")


@dag(
    schedule="@daily",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args={
        "owner": "data engineering",
        "retries": 2,
        "retry_delay": timedelta(seconds=30),
        "retry_exponential_backoff": True,
        "execution_timeout": timedelta(minutes=5),
    },
    tags=["dbt Cloud"],
    doc_md=__doc__,
)
def check_before_running_dbt_cloud_job() -> None:
    @task.short_circuit
    def check_job_is_not_running(job_id: str) -> bool:
        return DbtCloudHook(DBT_CLOUD_CONN_ID).check_job_is_not_running(job_id)

    trigger_job = DbtCloudRunJobOperator(
        task_id="trigger_job",
        dbt_cloud_conn_id=DBT_CLOUD_CONN_ID,
        job_id=JOB_ID,
        deferrable=True,
        # Who starts the job between the check and here has won: this task waits for that run.
        reuse_existing_run=True,
        execution_timeout=timedelta(hours=2),
        outlets=[JOB_ASSET],
    )

    check_job_is_not_running(JOB_ID) >> trigger_job


check_before_running_dbt_cloud_job()

"""
### Run several dbt Cloud jobs

Runs one task instance per job, all at the same time, each with the name of its job in the grid. They wait
without occupying a worker slot, and one request every two seconds covers all of them. A successful run
updates the asset of its job.

**Use it** for any number of jobs that do not depend on each other.

**Change** the list in `include/dbt_cloud_jobs.py`: one line per job with its name, ID and asset. dbt Cloud
executes as many runs at a time as your account has run slots; the others wait in its queue.
"""

from datetime import timedelta

from airflow.sdk import AssetAlias, dag
from pendulum import datetime

from include.dbt_cloud.operator import DbtCloudRunJobOperator
from include.dbt_cloud_jobs import JOBS


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args={"owner": "data engineering", "retries": 2, "retry_delay": timedelta(seconds=30)},
    tags=["dbt Cloud"],
    doc_md=__doc__,
)
def run_dbt_cloud_jobs() -> None:
    DbtCloudRunJobOperator.partial(
        task_id="run_job",
        dbt_cloud_conn_id="dbt_conn",
        deferrable=True,
        execution_timeout=timedelta(hours=2),
        # All instances have the same outlets: each instance adds the asset of its job to the alias.
        outlets=[AssetAlias("dbt_cloud_jobs")],
        map_index_template="{{ task.trigger_reason }}",
    ).expand_kwargs(
        [{"job_id": job.id, "trigger_reason": job.name, "mapped_outlet": job.asset} for job in JOBS]
    )


run_dbt_cloud_jobs()

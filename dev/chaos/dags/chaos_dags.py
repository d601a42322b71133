"""Two Dags that run a dbt Cloud job: one waits in the triggerer, one in a worker."""

from datetime import timedelta

from airflow.sdk import DAG

from include.dbt_cloud import submitter
from include.dbt_cloud.operator import DbtCloudRunJobOperator

# Seconds. Shorter than the default, so that a lost answer costs less time.
submitter.CONSISTENCY_WINDOW = 10

for name, deferrable in {"chaos_deferrable": True, "chaos_in_worker": False}.items():
    with DAG(name, schedule=None, catchup=False, max_active_runs=200, max_active_tasks=200):
        DbtCloudRunJobOperator(
            task_id="run_job",
            dbt_cloud_conn_id="dbt_conn",
            job_id="{{ dag_run.conf['job_id'] }}",
            # dbt Cloud's record of which Dag run a run belongs to, independent of the operator's own tag.
            schema_override="{{ run_id }}",
            deferrable=deferrable,
            check_interval=1,
            # More than the faults can use up.
            retries=20,
            retry_delay=timedelta(seconds=1),
        )

"""
### Run a dbt Cloud job, unless it is already running

`check_job_is_not_running` checks in one request whether the job has an active run. If it has, the log names
the run with its link, and `trigger_job` is skipped. Otherwise `trigger_job` starts a run, waits for its end
without occupying a worker slot, and logs the result of each model and test. A retry reattaches to the run of
the previous try. A successful run updates the asset `dbt_cloud_job`, and an asset for each of two models.

A failed task, and a Dag run that takes two hours longer than usual, are reported to Slack or Teams: give the
connection `dbt_alerts` the URL of a webhook. Without it, the message is logged.

**Use it** when other people, or dbt Cloud's own schedule, may start the same job.

Unpausing the Dag also starts its latest scheduled run. If you triggered the Dag while it was paused, the two
runs follow one another.

**Change** the job with the Airflow variable `dbt_cloud_job_id`, and the account with the connection
`dbt_conn`; on a laptop, set both in `.env`. To run the job when another Dag has loaded your data, instead of
daily, define an asset in `include/dbt_cloud_jobs.py`, make it an outlet of that Dag's last task, and set
`schedule=[...]` to it here.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import dag, task
from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference
from pendulum import datetime

from include.dbt_cloud.alerts import LATE, WebhookNotifier
from include.dbt_cloud.hook import DbtCloudHook
from include.dbt_cloud.operator import DbtCloudRunJobOperator
from include.dbt_cloud_jobs import JAFFLE_SHOP

AVERAGE = DeadlineReference.AVERAGE_RUNTIME(max_runs=10, min_runs=1)


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
        "on_failure_callback": WebhookNotifier(),
    },
    # Two hours more than its last ten runs took. Not DAGRUN_QUEUED_AT: Airflow 3.3 cannot clear such a run.
    deadline=DeadlineAlert(AVERAGE, timedelta(hours=2), AsyncCallback(WebhookNotifier, {"text": LATE})),
    tags=["dbt Cloud"],
    doc_md=__doc__,
)
def check_before_running_dbt_cloud_job() -> None:
    @task.short_circuit
    def check_job_is_not_running(job_id: int | str, **context: Any) -> bool:
        # With the context: after a clear of the Dag run, its own run does not count.
        return DbtCloudHook("dbt_conn").check_job_is_not_running(job_id, context=context)

    trigger_job = DbtCloudRunJobOperator(
        task_id="trigger_job",
        dbt_cloud_conn_id="dbt_conn",
        job_id=JAFFLE_SHOP.id,
        deferrable=True,
        # If the job is started after the check, wait for that run instead of queueing a second one.
        reuse_existing_run=True,
        retry_from_failure=True,
        execution_timeout=timedelta(hours=2),
        outlets=[JAFFLE_SHOP.asset],
        # Each of these models becomes an asset; ["*"] for all models.
        model_assets=["orders", "customers"],
    )

    check_job_is_not_running(JAFFLE_SHOP.id) >> trigger_job


check_before_running_dbt_cloud_job()

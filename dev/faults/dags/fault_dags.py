"""A Dag for each fault and variant: a task that runs a dbt Cloud job, and what it needs to meet its fault."""

import os
import signal
from datetime import timedelta
from functools import cached_property
from typing import Any

from airflow.providers.dbt.cloud.operators.dbt import DbtCloudRunJobOperator as StockOperator
from airflow.sdk import DAG, get_current_context

from dev.faults.scenarios import SCENARIOS, VARIANTS
from include.dbt_cloud import submitter
from include.dbt_cloud.operator import DbtCloudRunJobOperator

# For so long a task looks for a run whose start got no answer: less than a minute, for whoever waits here.
submitter.CONSISTENCY_WINDOW = 15

OPERATORS: dict[str, type[StockOperator]] = {"ours": DbtCloudRunJobOperator, "stock": StockOperator}


def killed_after_post(parent: type[StockOperator]) -> type[StockOperator]:
    """Return an operator whose first try loses its process when the run is started, before it takes note."""

    class KilledAfterPost(parent):
        @cached_property
        def hook(self) -> Any:
            hook = super().hook
            trigger_job_run = hook.trigger_job_run

            def trigger_and_die(*args: Any, **kwargs: Any) -> Any:
                answer = trigger_job_run(*args, **kwargs)
                if get_current_context()["ti"].try_number == 1:
                    os.kill(os.getpid(), signal.SIGKILL)
                return answer

            hook.trigger_job_run = trigger_and_die
            return hook

    return KilledAfterPost


for scenario in SCENARIOS:
    for variant in VARIANTS:
        make = OPERATORS[variant]
        if scenario.killed_after_post:
            make = killed_after_post(make)
        usual = {"deferrable": True, "check_interval": 1, "retries": 1, "retry_delay": timedelta(seconds=3)}
        with DAG(scenario.dag_id(variant), schedule=None, catchup=False):
            for number in range(1, scenario.tasks + 1):
                make(
                    task_id=f"trigger_job_{number}",
                    dbt_cloud_conn_id="dbt_conn",
                    job_id=scenario.job_id(variant),
                    **usual | scenario.operator,
                )

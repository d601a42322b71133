"""A Dag for each scenario and variant, whose tasks run a dbt Cloud job."""

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

# Seconds. Shorter than the default, so that scenarios take less time.
submitter.CONSISTENCY_WINDOW = 15


class KilledStockOperator(StockOperator):
    """The stock operator, whose process is killed in the first try as soon as dbt Cloud started the run."""

    @cached_property
    def hook(self) -> Any:
        hook = super().hook
        trigger_job_run = hook.trigger_job_run

        def trigger_and_die(*args: Any, **kwargs: Any) -> Any:
            response = trigger_job_run(*args, **kwargs)
            if get_current_context()["ti"].try_number == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return response

        hook.trigger_job_run = trigger_and_die
        return hook


class KilledOperator(KilledStockOperator, DbtCloudRunJobOperator):
    """This project's operator, killed in the same way."""


OPERATORS: dict[str, type[StockOperator]] = {"ours": DbtCloudRunJobOperator, "stock": StockOperator}
KILLED_OPERATORS: dict[str, type[StockOperator]] = {"ours": KilledOperator, "stock": KilledStockOperator}

DEFAULTS: dict[str, Any] = {
    "deferrable": True,
    "check_interval": 1,
    "retries": 1,
    "retry_delay": timedelta(seconds=3),
}

for scenario in SCENARIOS:
    for variant in VARIANTS:
        operators = KILLED_OPERATORS if scenario.kill_worker else OPERATORS
        with DAG(scenario.dag_id(variant), schedule=None, catchup=False):
            for number in range(1, scenario.task_count + 1):
                operators[variant](
                    task_id=f"trigger_job_{number}",
                    dbt_cloud_conn_id="dbt_conn",
                    job_id=scenario.job_id(variant),
                    **DEFAULTS | dict(scenario.arguments),
                )

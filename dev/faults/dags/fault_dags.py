"""A Dag for each scenario and variant, whose tasks run a dbt Cloud job."""

import os
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from airflow.providers.dbt.cloud.operators.dbt import DbtCloudRunJobOperator as StockOperator
from airflow.sdk import DAG, get_current_context

from dev.faults.scenarios import EDITED_DAGS, SCENARIOS, VARIANTS, Scenario
from include.dbt_cloud import submitter
from include.dbt_cloud.operator import DbtCloudRunJobOperator

# Seconds. Shorter than the default, so that scenarios take less time.
submitter.CONSISTENCY_WINDOW = 15


def kill_worker() -> None:
    """Kill the process of the task."""
    os.kill(os.getpid(), signal.SIGKILL)


def withhold_answer() -> None:
    """Hold back dbt Cloud's answer for longer than any task here may take."""
    time.sleep(600)


class InterruptedStockOperator(StockOperator):
    """The stock operator, interrupted in the first try as soon as dbt Cloud started the run."""

    interrupt: Callable[[], None]

    @cached_property
    def hook(self) -> Any:
        hook = super().hook
        trigger_job_run = hook.trigger_job_run

        def trigger_and_interrupt(*args: Any, **kwargs: Any) -> Any:
            response = trigger_job_run(*args, **kwargs)
            if get_current_context()["ti"].try_number == 1:
                type(self).interrupt()
            return response

        hook.trigger_job_run = trigger_and_interrupt
        return hook


class KilledStockOperator(InterruptedStockOperator):
    """The stock operator, whose worker is killed."""

    interrupt = staticmethod(kill_worker)


class UnansweredStockOperator(InterruptedStockOperator):
    """The stock operator, which dbt Cloud does not answer."""

    interrupt = staticmethod(withhold_answer)


class KilledOperator(KilledStockOperator, DbtCloudRunJobOperator):
    """This project's operator, whose worker is killed."""


class UnansweredOperator(UnansweredStockOperator, DbtCloudRunJobOperator):
    """This project's operator, which dbt Cloud does not answer."""


# By ``Scenario.submitted`` and variant.
OPERATORS: dict[str, dict[str, type[StockOperator]]] = {
    "": {"ours": DbtCloudRunJobOperator, "stock": StockOperator},
    "killed": {"ours": KilledOperator, "stock": KilledStockOperator},
    "unanswered": {"ours": UnansweredOperator, "stock": UnansweredStockOperator},
}

DEFAULTS: dict[str, Any] = {
    "dbt_cloud_conn_id": "dbt_conn",
    "deferrable": True,
    "check_interval": 1,
    "retries": 1,
    "retry_delay": timedelta(seconds=3),
}


def arguments(scenario: Scenario, dag_id: str) -> dict[str, Any]:
    """Return the arguments of a Dag's operators, also after a user edited them."""
    edited = Path(os.environ["AIRFLOW_HOME"], EDITED_DAGS, dag_id).exists()
    return DEFAULTS | dict(scenario.arguments) | (dict(scenario.edited_arguments) if edited else {})


for scenario in SCENARIOS:
    for variant in VARIANTS:
        with DAG(scenario.dag_id(variant), schedule=None, catchup=False) as dag:
            for number in range(1, scenario.task_count + 1):
                OPERATORS[scenario.submitted][variant](
                    task_id=f"trigger_job_{number}",
                    job_id=scenario.job_id(variant),
                    **arguments(scenario, dag.dag_id),
                )

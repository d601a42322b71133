"""Handle each run once, although Airflow can deliver its event twice."""

from collections.abc import Iterator, Mapping
from typing import Any

from airflow.sdk import Asset

from include.dbt_cloud.asset_events import event_facts

# Twice the number of runs that a killed triggerer can repeat.
MAX_REMEMBERED = 1000


def unhandled_runs(context: Mapping[str, Any], asset: Asset) -> Iterator[dict[str, Any]]:
    """Yield the run in each triggering event of an asset that this task has not handled yet.

    .. code-block:: python

        @task(inlets=[RUNS])
        def report(**context: Any) -> None:
            for run in unhandled_runs(context, RUNS):
                log.info("Run: %s", run["href"])

    A run counts as handled when the loop asks for the next one. If its body fails, a retry of the task
    begins with the same run. The IDs of handled runs are kept in the asset's state store: the task needs the
    asset as an inlet, and its Dag ``max_active_runs=1``.

    :param asset: The asset of a ``DbtCloudRunEventTrigger``.
    """
    ti, store = context["ti"], context["asset_state_store"][asset]
    key = f"handled_by_{ti.dag_id}.{ti.task_id}"
    handled: list[Any] = store.get(key, [])
    for run in event_facts(context["triggering_asset_events"], asset):
        # Other events of the asset, of a task or created by a person, do not say how a run ended.
        if {"run_id", "outcome"} <= run.keys() and run["run_id"] not in handled:
            yield run
            handled = [*handled, run["run_id"]][-MAX_REMEMBERED:]
            store.set(key, handled)

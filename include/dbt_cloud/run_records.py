"""Save a record of each dbt run of a task instance for the tabs "dbt results" and "dbt history".

Airflow deletes the XComs of a task instance when a retry begins. The task state store keeps the records of
earlier tries, and Airflow's public REST API lists them.
"""

import logging
from typing import Any

PREFIX = "dbt_cloud_run_"

log = logging.getLogger(__name__)


def save_run_record(store: Any, record: dict[str, Any]) -> None:
    """Save the facts about a run, or its results. A failure is only logged: just the tabs need the record.

    :param store: The task state store.
    :param record: As ``describe_run``, ``read_run_results`` and ``limit_nodes`` return it.
    """
    try:
        store.set(f"{PREFIX}{record['run_id']}", record)
    except Exception as error:
        log.warning("Could not save the record of dbt Cloud run %s: %s", record["run_id"], error)

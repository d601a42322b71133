"""Keep a record of each dbt run of a task instance, for the page that shows them.

Airflow deletes the XComs of a task instance when a retry begins. Its task state store keeps what earlier
tries wrote, and its public REST API lists it.
"""

import logging
from typing import Any

PREFIX = "dbt_cloud_run_"

log = logging.getLogger(__name__)


def save_run_record(store: Any, record: dict[str, Any]) -> None:
    """Keep the facts about a run, or its results. A failure is logged: only the page needs the record.

    :param store: The task state store.
    :param record: As ``describe_run``, ``read_run_results`` and ``limit_nodes`` return it.
    """
    try:
        store.set(f"{PREFIX}{record['run_id']}", record)
    except Exception as error:
        log.warning("Could not keep the record of dbt Cloud run %s: %s", record["run_id"], error)

"""Ask Airflow for the state of a task instance, to tell a user's decision from a restart of Airflow."""

from typing import Any

from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

# A user marked the task, or deleted its Dag run: "deleted" is not a state of Airflow, but of this module.
ENDED = frozenset({"success", "failed", "skipped", "upstream_failed", "removed", "deleted"})
# States that a running try cannot have: another try has begun, or is about to begin.
TAKEN_OVER = frozenset({"up_for_retry", "scheduled", "queued", "deferred"})


def task_state(ti: Any) -> str | None:
    """Return the current state of a task instance; None if it was cleared and is not scheduled yet.

    :param ti: Anything with the ids of a task instance, such as the one of a trigger.
    """
    states = RuntimeTaskInstance.get_task_states(
        ti.dag_id, map_index=ti.map_index, task_ids=[ti.task_id], run_ids=[ti.run_id]
    )
    # One entry at most; the key of a mapped task ends in its index.
    return next(iter(states.get(ti.run_id, {}).values()), "deleted")

"""A task instance, a task state store, and a context, with what the operator uses of Airflow's."""

import json
from dataclasses import dataclass, field
from typing import Any


class Killed(BaseException):
    """The worker was killed. Not an ``Exception``, so that no error handling of the operator runs."""


@dataclass
class TaskInstance:
    """A task instance that stores XComs as JSON.

    :param killed_at: Key of the XCom whose push kills the worker.
    """

    dag_id: str = "a_dag"
    run_id: str = "manual__2026-01-01T00:00:00+00:00"
    task_id: str = "trigger_job"
    map_index: int = -1
    try_number: int = 1
    max_tries: int = 2
    killed_at: str | None = None
    xcoms: dict[str, Any] = field(default_factory=dict)

    def xcom_push(self, key: str, value: Any) -> None:
        """Store an XCom."""
        if key == self.killed_at:
            raise Killed(key)
        self.xcoms[key] = json.loads(json.dumps(value))


class Store:
    """A task state store in memory, with values as JSON."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value."""
        return json.loads(self.values[key]) if key in self.values else default

    def set(self, key: str, value: Any) -> None:
        """Store a value."""
        self.values[key] = json.dumps(value)


def context() -> Any:
    """Return the context of a new task instance."""
    return {"ti": TaskInstance(), "task_state_store": Store(), "outlet_events": {}}

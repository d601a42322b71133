"""A task instance, a task state store, and a context, with what the operator uses of Airflow's."""

import json
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4


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
    # Airflow gives each try another.
    id: UUID = field(default_factory=uuid4)

    def xcom_push(self, key: str, value: Any) -> None:
        """Store an XCom."""
        if key == self.killed_at:
            raise Killed(key)
        self.xcoms[key] = json.loads(json.dumps(value))


class TaskStates:
    """What Airflow answers about the states of task instances.

    ``current`` is every task instance's state, or an exception that Airflow raises instead.
    """

    def __init__(self) -> None:
        self.current: str | Exception | None = "running"

    def get_task_states(self, dag_id: str, map_index: int, task_ids: list[str], run_ids: list[str]) -> Any:
        """Return the state, in the shape of the Task SDK's method."""
        if isinstance(self.current, Exception):
            raise self.current
        if self.current == "deleted":
            return {}
        suffix = f"_{map_index}" if map_index >= 0 else ""
        return {run_ids[0]: {f"{task_ids[0]}{suffix}": self.current}}


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


def context(ti: TaskInstance | None = None, store: Store | None = None, clear_number: int = 0) -> Any:
    """Return the context of a task instance, a new one by default."""
    return {
        "ti": ti or TaskInstance(),
        "dag_run": SimpleNamespace(clear_number=clear_number),
        "task_state_store": store or Store(),
        "outlet_events": {},
    }

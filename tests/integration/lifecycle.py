"""Lead a task instance through tries, deferrals, clears and killed workers, as Airflow does."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, cast
from uuid import uuid4

from airflow.sdk.exceptions import TaskDeferred
from local_dbt_cloud.testing import LocalDbtCloud

from include.dbt_cloud.checkpoint import SUBMISSION
from include.dbt_cloud.operator import DbtCloudRunJobOperator
from include.dbt_cloud.trigger import DbtCloudRunJobTrigger
from tests.task_instance import Killed, Store, TaskInstance, context


class TaskLifecycle:
    """A task instance, and the state that it keeps from one process to the next.

    ``killed_at`` kills the worker of a try: at ``start`` before the trigger request is sent, at ``answer``
    before its response is read, or when the XCom with that key is pushed.
    """

    def __init__(self, retries: int = 2, ti: TaskInstance | None = None, **arguments: Any) -> None:
        self.ti = ti or TaskInstance(max_tries=retries)
        self.retries = retries
        self.store = Store()
        self.clear_number = 0
        # The tries that followed a clear.
        self.cleared_tries: list[int] = []
        self.outlet_events: Any = {}
        # What a deferred task keeps for execute_complete.
        self.kwargs: dict[str, Any] = {}
        self.arguments: dict[str, Any] = {
            "task_id": self.ti.task_id,
            "dbt_cloud_conn_id": "dbt_conn",
            "job_id": 101,
            "deferrable": True,
            "check_interval": 0.02,
            "hook_params": {"retry_delay": 0.01, "timeout_seconds": 3, "max_requests_per_minute": 6000},
        } | arguments

    def operator(self, killed_at: str | None = None) -> DbtCloudRunJobOperator:
        """Return a new operator, as each worker process creates one."""
        operator = DbtCloudRunJobOperator(retries=self.retries, **self.arguments)
        self.ti.killed_at = killed_at
        if killed_at in ("start", "answer"):
            _kill_at(operator, killed_at)
        return operator

    @property
    def context(self) -> Any:
        shared = {"outlet_events": self.outlet_events}
        return context(self.ti, self.store, self.clear_number) | shared

    def execute(self, killed_at: str | None = None) -> DbtCloudRunJobTrigger | int:
        """Execute a try; return the deserialized trigger that it defers to, or the task's result."""
        self.ti.xcoms = {}
        try:
            return self.operator(killed_at).execute(self.context)
        except TaskDeferred as deferred:
            _, arguments = deferred.trigger.serialize()
            self.kwargs = json.loads(json.dumps(deferred.kwargs))
            trigger = DbtCloudRunJobTrigger(**json.loads(json.dumps(arguments)))
            # Like Airflow's, as far as the trigger uses it.
            trigger.task_instance = cast("Any", self.ti)
            return trigger

    def defer(self) -> DbtCloudRunJobTrigger:
        """Execute a try that must defer; return its trigger."""
        trigger = self.execute()
        assert isinstance(trigger, DbtCloudRunJobTrigger)
        return trigger

    def resume(self, trigger: DbtCloudRunJobTrigger, killed_at: str | None = None) -> int:
        """Wait in the triggerer, then resume in a new worker."""
        event = asyncio.run(asyncio.wait_for(trigger.wait(), 30)).payload
        return self.operator(killed_at).execute_complete(self.context, event, **self.kwargs)

    def run(self, meanwhile: Callable[[], Any] = lambda: None, killed_at: str | None = None) -> int:
        """Execute one try to its end; call ``meanwhile`` once it waits."""
        waiting = self.execute(killed_at)
        meanwhile()
        return waiting if isinstance(waiting, int) else self.resume(waiting, killed_at)

    def retry(self) -> "TaskLifecycle":
        """Begin the next try, as Airflow does after a failure."""
        self.ti.try_number += 1
        self.ti.id = uuid4()
        return self

    def an_hour_later(self) -> "TaskLifecycle":
        """Let an hour pass, so that dbt Cloud shows every run that the last try may have started."""
        submission = self.store.get(SUBMISSION)
        self.store.set(SUBMISSION, submission | {"at": submission["at"] - 3600})
        return self

    def clear(self, retries: int | None = None, keep_store: bool = True) -> "TaskLifecycle":
        """Begin the first try after a user cleared the task, as Airflow 3.3 does.

        :param retries: The number of retries in the Dag at that time.
        :param keep_store: Airflow 3.4 deletes the task state store.
        """
        self.retries = self.retries if retries is None else retries
        self.ti.max_tries = self.ti.try_number + self.retries
        return self.clear_while_running(keep_store)

    def clear_while_running(self, keep_store: bool = True) -> "TaskLifecycle":
        """Begin the try after a user cleared the task while it held a worker: max_tries stays."""
        self.clear_number += 1
        self.cleared_tries.append(self.ti.try_number + 1)
        if not keep_store:
            self.store = Store()
        return self.retry()


def _kill_at(operator: DbtCloudRunJobOperator, moment: str) -> None:
    send = operator.hook.run

    def die(endpoint: Any = None, *args: Any, **more: Any) -> Any:
        is_submission = operator.hook.method == "POST" and endpoint.endswith(("/run/", "/retry/"))
        if is_submission and moment == "answer":
            send(endpoint, *args, **more)
        if is_submission:
            raise Killed(moment)
        return send(endpoint, *args, **more)

    operator.hook.run = die  # type: ignore[method-assign]  # of this instance only


def _nothing() -> None:
    pass


def call_around(
    owner: object,
    method: str,
    before: Callable[[], None] = _nothing,
    after: Callable[[], None] = _nothing,
) -> None:
    """Call other functions before and after a method of one object."""
    original = getattr(owner, method)

    def wrapped(*args: Any, **more: Any) -> Any:
        before()
        result = original(*args, **more)
        after()
        return result

    setattr(owner, method, wrapped)


def runs(cloud: LocalDbtCloud, job_id: int = 101) -> list[tuple[int, str]]:
    """Return the IDs and statuses of a job's runs, oldest first."""
    return [(run["id"], run["status_humanized"]) for run in cloud.runs(job_id)]

"""What a user of Airflow decides about some of the Dag runs, and when."""

import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from dev.chaos.stack import TASK_HEARTBEAT_TIMEOUT

# Weights of the decisions about a Dag run; None means no decision.
SHARES: dict[str | None, int] = {None: 70, "clear": 14, "failed": 8, "success": 8}
# Seconds from when the task is first seen waiting until the decision.
DELAY = (0.0, 15.0)
# Seconds after which a silent triggerer counts as gone here; it sends a heartbeat every second.
MAX_HEARTBEAT_AGE = 3


@dataclass
class PlannedDecision:
    """A decision that a user makes about a Dag run.

    :param due_at: On the monotonic clock; None until the task was seen waiting.
    """

    kind: str
    delay: float
    due_at: float | None = None

    @classmethod
    def draw(cls, chance: random.Random) -> "PlannedDecision | None":
        """Return a decision, or None for a Dag run that is left alone."""
        (kind,) = chance.choices(list(SHARES), list(SHARES.values()))
        delay = chance.uniform(*DELAY)
        return cls(kind, delay) if kind else None

    def is_due(self, task: dict[str, Any], logs: Path) -> bool:
        """Return whether to act now on a task, as Airflow's API shows it.

        A clear of a waiting task may come at any time: the next try cancels the run. A mark, and a clear of a
        task that holds a worker, act through the process of the task, which must be alive.
        """
        if self.due_at is None and task["state"] in ("running", "deferred"):
            self.due_at = time.monotonic() + self.delay
        if self.due_at is None or time.monotonic() < self.due_at:
            return False
        return not self.needs_process(task) or _has_living_process(task, logs)

    def needs_process(self, task: dict[str, Any]) -> bool:
        """Return whether only the process of the task can cancel its run."""
        return self.kind != "clear" or task["state"] == "running"


def _has_living_process(task: dict[str, Any], logs: Path) -> bool:
    if task["state"] == "running":
        return _is_running(task["pid"]) and _has_started_run(task)
    triggerer = task["triggerer_job"]
    if task["state"] != "deferred" or not triggerer:
        return False
    heartbeat = datetime.fromisoformat(triggerer["latest_heartbeat"])
    is_fresh = (datetime.now(UTC) - heartbeat).total_seconds() < MAX_HEARTBEAT_AGE
    # The log file shows that this triggerer has started the trigger.
    directory = (
        logs / f"dag_id={task['dag_id']}" / f"run_id={task['dag_run_id']}" / f"task_id={task['task_id']}"
    )
    log = directory / f"attempt={task['try_number']}.log.trigger.{triggerer['id']}.log"
    return is_fresh and log.exists()


def _is_running(process_id: int | None) -> bool:
    try:
        process = psutil.Process(process_id)
        family = [process, process.parent()]
        return all(one and one.status() != psutil.STATUS_STOPPED and one.pid > 1 for one in family)
    except psutil.Error:
        return False


def _has_started_run(task: dict[str, Any]) -> bool:
    # Not within the first moments, in which the worker may still be loading the Dag.
    age = datetime.now(UTC) - datetime.fromisoformat(task["start_date"])
    return age.total_seconds() > TASK_HEARTBEAT_TIMEOUT / 2

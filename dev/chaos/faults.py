"""The faults that are injected into the stack."""

import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import psutil

from dev.chaos.service import Service
from dev.chaos.stack import TASK_HEARTBEAT_TIMEOUT, TRIGGERER_HEARTBEAT_TIMEOUT

if TYPE_CHECKING:
    from dev.chaos.experiment import Experiment

# Seconds until a killed process is started again.
ABSENCE = (0.0, 5.0)
# How long a process is frozen, as a multiple of the time after which Airflow considers it dead.
FREEZE = (0.5, 2.5)
# Faults for the next request that starts a run, and for the next few requests that read runs.
LOST_ANSWERS = ({"drop": "after"}, {"status": 503, "acts": True}, {"html": True, "acts": True})
FAILED_POLLS = ({"drop": "before"}, {"status": 503}, {"html": True}, {"delay": 3})


@dataclass(frozen=True)
class Injection:
    """When a fault was injected.

    :param title: Title of the fault.
    """

    title: str
    at: datetime


@dataclass(frozen=True)
class Fault:
    """A fault.

    :param weight: How often it is injected in one round of all faults.
    :param inject: Injects the fault and returns its target; empty if there was no target.
    """

    title: str
    weight: int
    inject: Callable[["Experiment"], str]


def kill_service(kind: str) -> Callable[["Experiment"], str]:
    """Kill a process with all its descendants, and start it again a little later."""

    def inject(experiment: "Experiment") -> str:
        if not (service := _choose(experiment, kind)):
            return ""
        service.kill()
        experiment.later(experiment.chance.uniform(*ABSENCE), service.start)
        return service.name

    return inject


def freeze_service(kind: str, timeout: float) -> Callable[["Experiment"], str]:
    """Freeze a process with all its descendants, mostly for longer than Airflow waits for its heartbeat."""

    def inject(experiment: "Experiment") -> str:
        if not (service := _choose(experiment, kind)):
            return ""
        seconds = timeout * experiment.chance.uniform(*FREEZE)
        service.freeze()
        experiment.later(seconds, service.thaw)
        return f"{service.name} for {seconds:.0f} s"

    return inject


def kill_task(experiment: "Experiment") -> str:
    """Kill the process of a task, or the one that supervises it."""
    process_ids = [task["pid"] for task in experiment.tasks if task["state"] == "running" and task["pid"]]
    if process_ids:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(experiment.chance.choice(process_ids))
            victim = process if experiment.chance.random() < 0.5 else process.parent()
            # If the supervisor of a task was killed, the task's parent is a process outside of this test.
            if victim and victim.pid in {one.pid for one in psutil.Process().children(recursive=True)}:
                victim.kill()
                return "task" if victim == process else "supervisor"
    return ""


def restart_database(experiment: "Experiment") -> str:
    """Kill PostgreSQL, which then recovers."""
    database = experiment.stack.database
    database.kill()
    database.start_and_wait()
    return database.name


def restart_dbt_cloud(experiment: "Experiment") -> str:
    """Kill the local dbt Cloud, which then cancels the runs that were active."""
    experiment.stack.kill_dbt_cloud()
    experiment.stack.start_dbt_cloud()
    return "local dbt Cloud"


def lose_answers(experiment: "Experiment") -> str:
    """Lose the answers to the next requests that start, cancel or list runs."""
    chance, dbt_cloud = experiment.chance, experiment.stack.dbt_cloud
    answer, poll = chance.choice(LOST_ANSWERS), chance.choice(FAILED_POLLS)
    dbt_cloud.add_fault("/jobs/[0-9]+/run$", method="POST", times=1, **answer)
    dbt_cloud.add_fault("/runs", method="GET", times=chance.randint(1, 5), **poll)
    dbt_cloud.add_fault("/cancel$", method="POST", times=1, html=True)
    return f"{answer}, {poll}"


def _choose(experiment: "Experiment", kind: str) -> Service | None:
    services = experiment.stack.named(kind)
    return experiment.chance.choice(services) if services else None


FAULTS = (
    Fault("A worker is killed with its tasks", 3, kill_service("worker")),
    Fault("A task or its supervisor is killed", 4, kill_task),
    Fault("A worker is frozen", 3, freeze_service("worker", TASK_HEARTBEAT_TIMEOUT)),
    Fault("A triggerer is killed", 3, kill_service("triggerer")),
    Fault("A triggerer is frozen", 3, freeze_service("triggerer", TRIGGERER_HEARTBEAT_TIMEOUT)),
    Fault("The scheduler is killed", 1, kill_service("scheduler")),
    Fault("The API server is killed", 1, kill_service("api-server")),
    Fault("PostgreSQL is killed and restarted", 1, restart_database),
    Fault("dbt Cloud is killed and restarted", 1, restart_dbt_cloud),
    Fault("dbt Cloud's answers are lost or late", 3, lose_answers),
)


def shuffled(chance: random.Random) -> list[Fault]:
    """Return one round of all faults in random order."""
    faults = [fault for fault in FAULTS for _ in range(fault.weight)]
    chance.shuffle(faults)
    return faults

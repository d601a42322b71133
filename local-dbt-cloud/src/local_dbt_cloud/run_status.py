"""Statuses of runs and steps, as dbt Cloud's API numbers and names them."""

from enum import IntEnum


class RunStatus(IntEnum):
    """Status of a run or of a step."""

    QUEUED = 1
    STARTING = 2
    RUNNING = 3
    SUCCESS = 10
    ERROR = 20
    CANCELLED = 30


ACTIVE_STATUSES = (RunStatus.QUEUED, RunStatus.STARTING, RunStatus.RUNNING)


def humanize_status(status: int) -> str:
    """Return the API's ``status_humanized``, such as ``Running``, or ``Unknown`` for any other number."""
    return RunStatus(status).name.capitalize() if status in set(RunStatus) else "Unknown"

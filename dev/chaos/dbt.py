"""Stand in for dbt: start runs in the local dbt Cloud, and end them with various outcomes."""

import contextlib
import random
import time
from dataclasses import dataclass

import httpx

from dev.chaos.outcome import DbtRun
from dev.temporary_stack import TemporaryDbtCloud

# Seconds from the submission until dbt starts, and until the run ends.
START_DELAY = (0.2, 2.0)
DURATION = (3.0, 25.0)
# Final statuses of runs, with their weights.
ENDINGS = {"success": 80, "error": 15, "cancelled": 5}
MESSAGES = {
    "success": None,
    "error": "Chaos: a model failed.",
    # Not the message of a cancellation through the API.
    "cancelled": "Chaos: a user canceled the run in dbt Cloud.",
}


@dataclass(frozen=True)
class Plan:
    """When a run starts and ends, on the monotonic clock, and how it ends."""

    starts_at: float
    ends_at: float
    ending: str


class Dbt:
    """Starts and ends runs as planned when they are first seen."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._plans: dict[int, Plan] = {}
        self._started: set[int] = set()

    def update(self, dbt_cloud: TemporaryDbtCloud, runs: list[DbtRun], may_end: set[int]) -> None:
        """Start and end the runs that are due.

        :param may_end: IDs of runs that may end by themselves: one that must be canceled stays active.
        """
        now = time.monotonic()
        for run in runs:
            if run.ended_at is None:
                plan = self._plans.setdefault(run.id, self._plan(now))
                # A run that dbt executes, or that was just deleted, cannot be changed.
                with contextlib.suppress(httpx.HTTPStatusError):
                    if now >= plan.ends_at and run.id in may_end:
                        message = MESSAGES[plan.ending]
                        dbt_cloud.set_run(run.id, plan.ending, message, only_if_active=True)  # type: ignore[arg-type]
                    elif now >= plan.starts_at and run.id not in self._started:
                        self._started.add(run.id)
                        dbt_cloud.set_run(run.id, "running", only_if_active=True)

    def _plan(self, now: float) -> Plan:
        chance = self._chance
        starts_at = now + chance.uniform(*START_DELAY)
        (ending,) = chance.choices(list(ENDINGS), list(ENDINGS.values()))
        return Plan(starts_at, starts_at + chance.uniform(*DURATION), ending)

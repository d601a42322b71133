"""Runs that a user starts in dbt Cloud, and how often a Dag handled each."""

import contextlib
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from dev.chaos.dbt import Dbt
from dev.chaos.outcome import MISSED, REPEATED, DbtRun
from dev.temporary_stack import TemporaryDbtCloud

# Only these runs are of this job.
JOB_ID = 9
# Environment variable with the file to which the Dag appends the ID of each run that it handles.
HANDLED_FILE = "CHAOS_HANDLED_FILE"
# Seconds between the starts of two runs.
INTERVAL = (5.0, 15.0)
# Seconds between two runs before the experiment, and how long to wait for the first one that is handled.
WARM_UP_INTERVAL = 5
WARM_UP_TIMEOUT = 120


@dataclass(frozen=True)
class ForeignResult:
    """How often the Dag handled the runs that ended while they were watched.

    :param run_ids: IDs of these runs.
    :param handled: How often each was handled.
    """

    run_ids: frozenset[int]
    handled: Counter[int]

    def violations(self) -> list[str]:
        """Return the kinds of violations, each as often as it happened."""
        missed = [MISSED for run_id in self.run_ids if not self.handled[run_id]]
        return missed + [REPEATED for run_id in self.run_ids if self.handled[run_id] > 1]


class ForeignRuns:
    """Starts runs from time to time, and ends them.

    :param handled_file: What ``HANDLED_FILE`` names.
    """

    def __init__(self, handled_file: Path, chance: random.Random) -> None:
        self._file = handled_file
        self._chance = chance
        self._dbt = Dbt(chance)
        self._next_start = 0.0
        self._runs: list[DbtRun] = []
        # A watcher skips what ended before its first start.
        self._first_id = 0

    def wait_until_watched(self, dbt_cloud: TemporaryDbtCloud) -> bool:
        """Create runs until the Dag handles one; return whether it did in time."""
        deadline = time.monotonic() + WARM_UP_TIMEOUT
        while not (handled := self._handled()):
            if time.monotonic() > deadline:
                return False
            dbt_cloud.create_run("success", job_id=JOB_ID)
            time.sleep(WARM_UP_INTERVAL)
        self._first_id = min(handled)
        return True

    def update(self, dbt_cloud: TemporaryDbtCloud, listed: Sequence[dict[str, Any]], start: bool) -> None:
        """Start a run if it is time for one, and end those that are due.

        :param listed: All runs, as the control API lists them.
        :param start: Whether to start more runs.
        """
        self._runs = [DbtRun.from_api(run) for run in listed if run["job_id"] == JOB_ID]
        self._dbt.update(dbt_cloud, self._runs, {run.id for run in self._runs})
        if start and time.monotonic() >= self._next_start:
            # If the response is lost or is an HTML page, the new run is listed anyway.
            with contextlib.suppress(httpx.HTTPError, ValueError):
                dbt_cloud.trigger(JOB_ID)
            self._next_start = time.monotonic() + self._chance.uniform(*INTERVAL)

    def result(self) -> ForeignResult:
        """Return what happened up to now."""
        ended = {run.id for run in self._runs if run.ended_at and run.id >= self._first_id}
        return ForeignResult(frozenset(ended), self._handled())

    def has_settled(self) -> bool:
        """Return whether all runs have ended and were handled."""
        is_active = any(run.ended_at is None for run in self._runs)
        return not is_active and MISSED not in self.result().violations()

    def _handled(self) -> Counter[int]:
        text = self._file.read_text() if self._file.exists() else ""
        return Counter(int(line) for line in text.split())

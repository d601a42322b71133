"""Track which of the ended runs a watcher has read, so that it misses none and repeats none."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from include.dbt_cloud.job_run import JobRun

# How late dbt Cloud may list a run that has ended, and how far its clock and Airflow's may differ.
OVERLAP = timedelta(minutes=10)


@dataclass(frozen=True)
class RunCursor:
    """The newest end time of the runs that were read, and the runs that ended shortly before it.

    dbt Cloud may list runs in another order than they end. So the runs of the last ``OVERLAP`` before
    ``position`` are read again; ``seen`` tells which of them are new.
    """

    position: datetime
    seen: Mapping[int, datetime] = field(default_factory=dict)

    @property
    def start(self) -> datetime:
        """The end time from which runs must be read."""
        return self.position - OVERLAP

    def advance(self, runs: Iterable[JobRun]) -> tuple[list[JobRun], Self]:
        """Return the new runs, and the cursor after them.

        :param runs: All runs that ended since ``start``, or the oldest of these; oldest first.
        """
        ends = {run.id: datetime.fromisoformat(run.finished_at) for run in runs if run.finished_at}
        ends = {run_id: end for run_id, end in ends.items() if end >= self.start}
        new = [run for run in runs if run.id in ends and run.id not in self.seen]
        position = max([self.position, *ends.values()])
        # Keep earlier runs too: dbt Cloud may leave a run out of one list and return it in the next.
        seen = {run_id: end for run_id, end in {**self.seen, **ends}.items() if end >= position - OVERLAP}
        return new, type(self)(position, seen)

    def as_json(self) -> dict[str, Any]:
        """Return the cursor as JSON for a store; ``from_json`` reads it."""
        seen = {str(run_id): end.isoformat() for run_id, end in self.seen.items()}
        return {"position": self.position.isoformat(), "seen": seen}

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Return the cursor that ``as_json`` returned."""
        seen = {int(run_id): datetime.fromisoformat(end) for run_id, end in data["seen"].items()}
        return cls(datetime.fromisoformat(data["position"]), seen)

    @classmethod
    def now(cls) -> Self:
        """Return a cursor for the runs that end from now on."""
        return cls(datetime.now(UTC))

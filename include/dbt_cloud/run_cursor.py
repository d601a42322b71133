"""A watcher's place among the runs that have ended: none is missed, and none comes twice."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from include.dbt_cloud.job_run import JobRun

# How late dbt Cloud may list a run that has ended, and how far its clock and Airflow's may differ.
OVERLAP = timedelta(minutes=10)


@dataclass(frozen=True)
class RunCursor:
    """The newest end of a run, and the runs known around it.

    Runs do not appear in the order in which they end. Those of ``OVERLAP`` before ``position`` are read
    again; their IDs show which ones are new.
    """

    position: datetime
    seen: Mapping[int, datetime] = field(default_factory=dict)

    @property
    def start(self) -> datetime:
        """The end of a run from which on they must be read."""
        return self.position - OVERLAP

    def advance(self, runs: Iterable[JobRun]) -> tuple[list[JobRun], Self]:
        """Return the runs that are new, and the cursor behind them.

        :param runs: All that ended since ``start``, or the first of these, oldest first.
        """
        ends = {run.id: datetime.fromisoformat(run.finished_at) for run in runs if run.finished_at}
        ends = {run_id: end for run_id, end in ends.items() if end >= self.start}
        new = [run for run in runs if run.id in ends and run.id not in self.seen]
        position = max([self.position, *ends.values()])
        # Kept beyond the runs just read: a list may leave out a run that an earlier one had.
        seen = {run_id: end for run_id, end in {**self.seen, **ends}.items() if end >= position - OVERLAP}
        return new, type(self)(position, seen)

    def as_json(self) -> dict[str, Any]:
        """Return what ``from_json`` takes, for a store."""
        seen = {str(run_id): end.isoformat() for run_id, end in self.seen.items()}
        return {"position": self.position.isoformat(), "seen": seen}

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Return the cursor that a store holds."""
        seen = {int(run_id): datetime.fromisoformat(end) for run_id, end in data["seen"].items()}
        return cls(datetime.fromisoformat(data["position"]), seen)

    @classmethod
    def now(cls) -> Self:
        """Return a cursor behind which only runs count that end from now on."""
        return cls(datetime.now(UTC))

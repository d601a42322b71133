"""What happened to one Dag run, and the violations that follow from it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

DUPLICATE = "duplicate run"
ORPHAN = "orphaned run"
WRONG_VERDICT = "wrong verdict"
STUCK = "stuck task"
CANCELED = "healthy run canceled"
# Of runs that a user started in dbt Cloud.
MISSED = "missed run"
REPEATED = "run handled twice"
VIOLATIONS = (DUPLICATE, ORPHAN, WRONG_VERDICT, STUCK, CANCELED, MISSED, REPEATED)

# The message of a run that was canceled through the API: here only the operator does that.
CANCELED_THROUGH_API = "Cancelled by user."
FINAL_STATES = ("success", "failed")
# A decision that Airflow did not answer, and that the user repeats.
UNANSWERED = "unanswered"
# Seconds that a try after a clear may take to cancel the run of the try before. Afterwards the run may end.
CLEAR_TIMEOUT = 90


@dataclass(frozen=True)
class DbtRun:
    """A run in the local dbt Cloud.

    :param ended_at: None while it is active.
    :param message: Why it failed or was canceled.
    """

    id: int
    status: str
    created_at: datetime
    ended_at: datetime | None
    message: str = ""

    @classmethod
    def from_api(cls, run: dict[str, Any]) -> Self:
        """Return a run as the control API lists it."""
        ended_at = None if run["in_progress"] else _parse(run["finished_at"] or run["updated_at"])
        created_at, message = _parse(run["created_at"]), run["status_message"] or ""
        return cls(run["id"], run["status_humanized"], created_at, ended_at, message)

    def was_active(self, at: datetime) -> bool:
        """Return whether it was active at a time after its creation."""
        return self.ended_at is None or self.ended_at > at

    @property
    def canceled_by_operator(self) -> bool:
        """Whether the operator canceled it, and not a user of dbt Cloud or its restart."""
        return self.status == "Cancelled" and self.message == CANCELED_THROUGH_API


@dataclass(frozen=True)
class Decision:
    """What a user did in Airflow.

    :param kind: ``clear``, or the state that the task was marked with, ``failed`` or ``success``, or
        ``unanswered``.
    """

    kind: str
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass
class Outcome:
    """The only task of a Dag run, and its dbt runs.

    :param runs: Its dbt runs, oldest first.
    :param state: State of the task.
    :param orphans: IDs of runs that were active long after the task had ended, or had been cleared.
    """

    dag_id: str
    run_id: str
    runs: list[DbtRun] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    state: str | None = None
    orphans: set[int] = field(default_factory=set)

    def violations(self) -> list[str]:
        """Return the kinds of violations, each as often as it happened."""
        later = self.runs[1:]
        last = self.runs[-1] if self.runs else None
        is_stuck = self.state not in FINAL_STATES
        orphans = self.orphans | {run.id for run in self.runs if run.ended_at is None and not is_stuck}
        found = [DUPLICATE for run in later if self._is_duplicate(run)]
        found += [ORPHAN for _ in orphans]
        found += [CANCELED for run in self.runs if run.canceled_by_operator and not self._is_decided(run)]
        if is_stuck:
            return [*found, STUCK]
        answered = [one for one in self.decisions if one.kind != UNANSWERED]
        decision = answered[-1] if answered else None
        if decision and decision.kind != "clear":
            is_wrong = self.state != decision.kind
        elif self.state == "success":
            # A clear asks for a new run.
            is_old = bool(last and decision and last.created_at < decision.at)
            is_wrong = last is None or last.status != "Success" or is_old
        else:
            is_wrong = last is not None and last.status == "Success"
        return [*found, WRONG_VERDICT] if is_wrong else found

    def _is_duplicate(self, run: DbtRun) -> bool:
        """Return whether a run should not have started, because of an earlier run of the task.

        The earlier run was active, had succeeded, or had been canceled in dbt Cloud. A clear permits a new
        run, but not while another one is active.
        """
        for earlier in self.runs[: self.runs.index(run)]:
            if earlier.was_active(run.created_at):
                return True
            was_final = earlier.status == "Success" or (
                earlier.status == "Cancelled" and not earlier.canceled_by_operator
            )
            if was_final and self._clears(earlier) == self._clears(run):
                return True
        return False

    def _clears(self, run: DbtRun) -> int:
        return sum(one.kind == "clear" and one.at <= run.created_at for one in self.decisions)

    def _is_decided(self, run: DbtRun) -> bool:
        return any(run.ended_at is None or one.at <= run.ended_at for one in self.decisions)

    def is_abandoned(self, run: DbtRun, now: datetime) -> bool:
        """Return whether the operator must cancel a run: the task ended, or was just cleared."""
        has_ended = self.state in FINAL_STATES or any(one.kind in FINAL_STATES for one in self.decisions)
        return has_ended or any(
            run.created_at < one.at and (now - one.at).total_seconds() < CLEAR_TIMEOUT
            for one in self.decisions
        )


def _parse(text: str) -> datetime:
    parsed = datetime.fromisoformat(text)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)

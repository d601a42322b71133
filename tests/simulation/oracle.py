"""Judge a lifecycle: compare what dbt Cloud did, by its own records, with what Airflow was told."""

import re
from typing import Any

from airflow.sdk.exceptions import AirflowException, AirflowTaskTimeout

from include.dbt_cloud.exceptions import (
    DbtCloudJobRunCancelled,
    DbtCloudJobRunFailed,
    DbtCloudJobRunUnreachable,
    DbtCloudRequestError,
)
from tests.simulation.clock import Clock, Process
from tests.simulation.cloud import MAX_DELAY, MAX_LAG, Run
from tests.task_instance import Killed

# Errors after which a run may be unknown to Airflow: a documented limit if the last try ends with one.
EXPECTED = (AirflowException, AirflowTaskTimeout, Killed, OSError)


class Oracle:
    """Observes a lifecycle, and records its story and its violations."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.story: list[str] = []
        self.violations: list[str] = []
        self.runs: dict[int, Run] = {}
        self.generation = 0
        self.process = Process("none")
        self.last_error: BaseException | None = None
        # When a person, or a time limit of theirs, ended or cleared the task.
        self.decided_at: list[float] = []
        self.cleared_at: list[float] = []
        # Without clears of a task that held a worker: a run that succeeds at that moment is its result.
        self.cleared_idle_at: list[float] = []
        self.orphan_allowed = False
        self.clock_was_set = False
        self.forgotten: set[int] = set()
        # Runs that a stalled worker canceled later: a documented limit.
        self.canceled_late: set[int] = set()
        self.was_killed = False
        self.faults_of_airflow = 0
        self.operator: Any = None

    def note(self, event: str) -> None:
        """Add an event to the story."""
        self.story.append(f"{self.clock.now:8.2f} {event}")

    def violate(self, what: str) -> None:
        """Record a violation."""
        self.note(f"VIOLATION: {what}")
        self.violations.append(what)

    def decide(self, event: str, can_cancel: bool = True) -> None:
        """Record a person's decision to end or to clear the task."""
        self.orphan_allowed |= not can_cancel
        if not event:
            return
        self.note(event)
        self.decided_at.append(self.clock.now)
        if "clear" in event or "deletes" in event:
            self.cleared_at.append(self.clock.now)
        if "clears" in event:
            self.cleared_idle_at.append(self.clock.now)

    def give_up(self) -> None:
        """Record that Airflow failed the task: from now on, nobody waits for its run."""
        self.decided_at.append(self.clock.now)

    def time_out(self) -> None:
        """Record that a time limit of the task has passed."""
        self.decided_at.append(self.clock.now)

    def begin(self, is_first: bool) -> None:
        """A process begins."""
        self.process_began = self.clock.now

    def own(self) -> list[Run]:
        """Return the runs of the task instance."""
        return [run for run in self.runs.values() if run.owner and run.owner.generation == self.generation]

    def watch(self, event: str, run: Run) -> None:
        """Judge what the library asked dbt Cloud to do."""
        if event == "created" and run.owner:
            self.note(
                f"{run.owner.name} starts run {run.id}, which ends at {run.ends_at:.0f} with {run.ends_as}"
            )
            self._watch_created(run)
        elif event == "cancel":
            self._watch_cancel(run)

    def _watch_created(self, run: Run) -> None:
        now = self.clock.now
        if run.owner.is_stale:
            # Documented limit: a worker that stalls between its checkpoint and its request.
            return
        for other in self.own():
            if other is run or other.owner.is_stale:
                continue
            # The worker had not been told yet that a person had cleared the task.
            if other.owner.decision == "clear" and not other.is_active(now):
                continue
            if other.is_active(now) and not self._is_forgotten(other):
                self.violate(f"run {run.id} starts while run {other.id} is active")
            succeeded = other.status(now) == 10 and now < other.deleted_at
            # Also if its request was on the way when the task was cleared.
            if succeeded and not any(at > other.created - MAX_DELAY for at in self.cleared_at):
                self.violate(f"run {run.id} starts although run {other.id} succeeded")

    def _is_forgotten(self, run: Run) -> bool:
        # Documented limit: a clear empties the store while dbt Cloud does not list the run yet.
        cleared = any(at >= run.created - MAX_DELAY for at in self.cleared_at)
        if self.loses_store and cleared and self.clock.now - run.created < MAX_LAG + MAX_DELAY:
            self.forgotten.add(run.id)
        return run.id in self.forgotten

    loses_store = False

    def _watch_cancel(self, run: Run) -> None:
        name = self.clock.current.name
        self.note(f"{name} cancels run {run.id}")
        if self.clock.current.is_stale:
            self.canceled_late.add(run.id)
        if not run.is_active(self.clock.now):
            return
        if run.owner is None:
            self.violate(f"{name} cancels run {run.id} of somebody else")
        elif not (self._is_decided(run) or self._time_limit(run)):
            self.violate(f"{name} cancels run {run.id} without a decision")

    def _is_decided(self, run: Run) -> bool:
        # Also while the process that started it had not been told yet, and while its request was on the way.
        return bool(run.owner.decision) or any(at >= run.created - MAX_DELAY for at in self.decided_at)

    def _time_limit(self, run: Run) -> bool:
        operator = self.operator
        older = [one for one in self.runs.values() if one.id < run.id]
        # It loses a race against an older run, or one that was active a moment ago.
        if operator.reuse_existing_run and any(one.ends_at > self.clock.now - 120 for one in older):
            return True
        return bool(self.limit) and (self.clock_was_set or self.clock.now >= self.limit)

    limit: float = 0.0

    def watch_deferral(self, arguments: dict[str, Any]) -> None:
        """Judge the run that a task waits for."""
        run = self.runs[arguments["run_id"]]
        deadline = arguments["execution_deadline"]
        self.limit = self.clock.now + deadline - self.clock.time() if deadline else 0
        self._watch_adoption(run, arguments["owned"])
        self.note(f"it waits for run {run.id}")

    def _watch_adoption(self, run: Run, owned: bool) -> None:
        if owned and (run.owner is None or run.owner.generation != self.generation):
            self.violate(f"run {run.id} of somebody else is adopted")
        if not owned and not (self.operator and self.operator.reuse_existing_run):
            self.violate(f"run {run.id} is joined")

    def watch_success(self, run_id: int, operator: Any) -> None:
        """Judge a task that succeeded."""
        run = self.runs[run_id]
        if run.status(self.clock.now) != 10:
            self.violate(f"the task succeeds, run {run_id} did not: {run.status(self.clock.now)}")
        reused = operator.reuse_existing_run
        if run.owner is None and not reused:
            self.violate(f"the task succeeds with run {run_id} of somebody else")
        if run.owner and run.owner.generation != self.generation and not reused:
            self.violate(f"the task succeeds with run {run_id} of its namesake")
        if run.owner and any(run.created < at <= self.process_began for at in self.cleared_idle_at):
            self.violate(f"the task succeeds with run {run_id} from before a clear")

    process_began: float = 0.0

    def watch_error(self, error: BaseException, operator: Any, context: Any) -> None:
        """Judge a try that failed."""
        if not isinstance(error, EXPECTED):
            self.violate(f"unexpected {error!r}")
        match = re.search(r"dbt Cloud run (\d+)", str(error))
        run = self.runs.get(int(match[1])) if match else None
        if run is None:
            return
        status = run.status(self.clock.now)
        by = run.canceled_by
        if isinstance(error, DbtCloudJobRunFailed) and status != 20:
            self.violate(f"the task fails, but run {run.id} is {status}")
        is_persons = by == "person" or self.faults_of_airflow or run.id in self.canceled_late
        if isinstance(error, DbtCloudJobRunCancelled) and not (status == 30 and is_persons):
            self.violate(f"the task says that a person canceled run {run.id}: {status} {by}")

    def check_first_try(self, requests: list[str], operator: Any) -> None:
        """Judge the cost of a first try without trouble."""
        if not operator.reuse_existing_run and len(requests) != 1:
            self.violate(f"a first try without trouble needs {requests}")

    def conclude(self, had_trouble: bool) -> None:
        """Judge what is left at the end."""
        now = self.clock.now
        if isinstance(self.last_error, AirflowTaskTimeout) and had_trouble:
            return
        if isinstance(self.last_error, (Killed, DbtCloudJobRunUnreachable, DbtCloudRequestError, OSError)):
            return
        if self.orphan_allowed or "could" in str(self.last_error):
            return
        for run in self.own():
            # Documented limit: a person ended the worker before it received or could save the ID of its run.
            unaware = run.owner.decision and (run.owner.has_deferred or not run.is_known)
            # The same for a worker that only reattached to the run.
            unaware = unaware or (self.process.decision and self.process.has_deferred)
            if run.is_active(now) and not (run.owner.is_stale or unaware or self._is_forgotten(run)):
                self.violate(f"run {run.id} is left active: {self.last_error!r}")

"""Make Dag runs while faults are injected and users decide, and observe the outcome of each."""

import contextlib
import heapq
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import psutil
from rich.markup import escape

from dev.chaos import faults
from dev.chaos.dbt import Dbt
from dev.chaos.decisions import PlannedDecision
from dev.chaos.faults import Fault, Injection
from dev.chaos.foreign_runs import ForeignResult, ForeignRuns
from dev.chaos.outcome import FINAL_STATES, UNANSWERED, DbtRun, Decision, Outcome
from dev.chaos.stack import DAG_IDS, JOB_IDS, Stack
from scripts.exceptions import UserError
from scripts.progress import Progress

TASK_ID = "run_job"
# Seconds between the starts of two Dag runs, and between two faults.
START_INTERVAL = 3.4
FAULT_INTERVAL = (3.0, 11.0)
POLL_INTERVAL = 0.25
TASKS_INTERVAL = 1.5
PROGRESS_INTERVAL = 30
# How long a run may stay active after its task ended, and a task after the last fault.
ORPHAN_TIMEOUT = 60
SETTLE_TIMEOUT = 240
# After a decision that only a process can carry out: no fault until the run is canceled, or for this long.
MARK_TIMEOUT = 20
# A task without a state for this long is cleared again: if a user clears a task just as the scheduler ends
# the Dag run, Airflow never schedules the task.
CLEAR_AGAIN_AFTER = 45
# No decision that needs a process for this long after a fault: the fault may affect that process.
QUIET = 4
# The shares of Dag runs with each Dag.
SHARES = (60, 40)


class Experiment:
    """One seeded experiment. Everything happens in one thread, in small steps.

    :param runs: Number of Dag runs.
    """

    def __init__(self, stack: Stack, runs: int, seed: int, progress: Progress) -> None:
        self.stack, self.progress = stack, progress
        # Separate, so that the timing of one does not change the others.
        self.chance, dbt_chance, chance, foreign_chance = (
            random.Random(f"{name} {seed}")  # noqa: S311 - not for secrets
            for name in ("faults", "dbt", "Dag runs", "foreign runs")
        )
        self._foreign = ForeignRuns(stack.handled_file, foreign_chance)
        self._dbt = Dbt(dbt_chance)
        dag_ids = [dag_id for _ in range(runs) for dag_id in chance.choices(DAG_IDS, SHARES)]
        self.outcomes = {
            run_id: Outcome(dag_id, run_id)
            for dag_id, run_id in zip(
                dag_ids, (f"chaos_{number}" for number in range(1, runs + 1)), strict=True
            )
        }
        self._jobs = {run_id: chance.choice(JOB_IDS) for run_id in self.outcomes}
        self._planned = {run_id: PlannedDecision.draw(chance) for run_id in self.outcomes}
        self._waiting = list(self.outcomes)
        # Task instances of all Dag runs, as Airflow's API last listed them.
        self.tasks: list[dict[str, Any]] = []
        self.injections: list[Injection] = []
        self.restarts = 0
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = itertools.count()
        self._ended_at: dict[str, float] = {}
        # When a task was first seen without a state.
        self._cleared_at: dict[str, float] = {}
        self._last_fault_at = self._no_fault_until = 0.0
        self._marked: Outcome | None = None

    def run(self) -> list[Outcome]:
        """Run the experiment; return the outcome of each Dag run.

        :raises UserError: No Dag reacts to runs that a user starts in dbt Cloud.
        """
        if not self._foreign.wait_until_watched(self.stack.dbt_cloud):
            raise UserError("No Dag reacted to a run that was started in dbt Cloud.")
        next_fault = next_start = next_tasks = next_progress = time.monotonic()
        deck: list[Fault] = []
        ends_at = None
        while ends_at is None or time.monotonic() < ends_at:
            now = time.monotonic()
            self._run_due()
            if self._waiting and now >= next_start and self._start_dag_run(self._waiting[0]):
                del self._waiting[0]
                next_start = now + START_INTERVAL
            if self._waiting and now >= max(next_fault, self._no_fault_until):
                deck = deck or faults.shuffled(self.chance)
                if self._inject(deck.pop()):
                    next_fault = time.monotonic() + self.chance.uniform(*FAULT_INTERVAL)
            for name in self.stack.restart_exited():
                self.restarts += 1
                self.progress.print(f"  {name} had exited and was started again")
            self._update_runs()
            if now >= next_tasks:
                self._update_tasks()
                self._decide()
                self._clear_again()
                next_tasks = time.monotonic() + TASKS_INTERVAL
            if now >= next_progress:
                self._print_progress()
                next_progress = now + PROGRESS_INTERVAL
            if not self._waiting and ends_at is None:
                ends_at = now + SETTLE_TIMEOUT
            if self._has_settled():
                break
            time.sleep(POLL_INTERVAL)
        self._update_runs()
        return list(self.outcomes.values())

    def foreign_result(self) -> ForeignResult:
        """Return how often Airflow reacted to each run that a user started in dbt Cloud."""
        return self._foreign.result()

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something after some seconds."""
        heapq.heappush(self._later, (time.monotonic() + seconds, next(self._sequence), action))

    def _run_due(self) -> None:
        while self._later and self._later[0][0] <= time.monotonic():
            heapq.heappop(self._later)[2]()

    def _start_dag_run(self, run_id: str) -> bool:
        try:
            conf = {"job_id": self._jobs[run_id]}
            self.stack.airflow_api.trigger_dag(self.outcomes[run_id].dag_id, run_id, conf)
        except httpx.HTTPStatusError as error:
            # An earlier request created the Dag run, although its response was lost.
            return error.response.status_code == httpx.codes.CONFLICT
        except httpx.HTTPError:
            return False
        return True

    def _inject(self, fault: Fault) -> bool:
        """Inject a fault; return whether there was something to act on."""
        try:
            target = fault.inject(self)
        except (httpx.HTTPError, psutil.Error):
            return False
        if target:
            self._last_fault_at = time.monotonic()
            self.injections.append(Injection(fault.title, datetime.now(UTC)))
            self.progress.print(escape(f"  {fault.title}: {target}"))
        return bool(target)

    def _update_runs(self) -> None:
        by_run_id: dict[str, list[DbtRun]] = {}
        runs = self.stack.dbt_cloud.runs()
        self._foreign.update(self.stack.dbt_cloud, runs, start=bool(self._waiting))
        for run in runs:
            by_run_id.setdefault(run["trigger"]["schema_override"], []).append(DbtRun.from_api(run))
        now = time.monotonic()
        if self._marked and not any(run.ended_at is None for run in by_run_id.get(self._marked.run_id, [])):
            self._marked, self._no_fault_until = None, 0.0
        for run_id, outcome in self.outcomes.items():
            outcome.runs = by_run_id.get(run_id, [])
            at = datetime.now(UTC)
            may_end = {run.id for run in outcome.runs if not outcome.is_abandoned(run, at)}
            self._dbt.update(self.stack.dbt_cloud, outcome.runs, may_end)
            if outcome.state in FINAL_STATES and now - self._ended_at[run_id] > ORPHAN_TIMEOUT:
                outcome.orphans |= {run.id for run in outcome.runs if run.ended_at is None}

    def _update_tasks(self) -> None:
        try:
            tasks = self.stack.airflow_api.list_task_instances()
        except httpx.HTTPError:
            # Keep the states as they are: the previous list may be older than a decision.
            return
        self.tasks = [task for task in tasks if task["dag_run_id"] in self.outcomes]
        for task in self.tasks:
            outcome = self.outcomes[task["dag_run_id"]]
            outcome.state = task["state"]
            if outcome.state is None:
                self._cleared_at.setdefault(outcome.run_id, time.monotonic())
            else:
                self._cleared_at.pop(outcome.run_id, None)
            if outcome.state in FINAL_STATES:
                self._ended_at.setdefault(outcome.run_id, time.monotonic())
            else:
                self._ended_at.pop(outcome.run_id, None)

    def _decide(self) -> None:
        logs = self.stack.settings.airflow_home / "logs"
        for task in self.tasks:
            run_id = task["dag_run_id"]
            planned = self._planned[run_id]
            if not planned or not planned.is_due(task, logs):
                continue
            outcome = self.outcomes[run_id]
            if planned.needs_process(task) and time.monotonic() - self._last_fault_at < QUIET:
                continue
            if planned.needs_process(task):
                self._marked, self._no_fault_until = outcome, time.monotonic() + MARK_TIMEOUT
            try:
                self._carry_out(outcome, Decision(planned.kind))
            except httpx.ConnectError:
                # The API server is restarting: try again when it is back.
                continue
            except httpx.HTTPError:
                # Airflow may have performed the action.
                outcome.decisions.append(Decision(UNANSWERED))
                continue
            self._planned[run_id] = None

    def _clear_again(self) -> None:
        for run_id, since in list(self._cleared_at.items()):
            if time.monotonic() - since > CLEAR_AGAIN_AFTER:
                with contextlib.suppress(httpx.HTTPError):
                    self._carry_out(self.outcomes[run_id], Decision("clear"))
                self._cleared_at[run_id] = time.monotonic()

    def _carry_out(self, outcome: Outcome, decision: Decision) -> None:
        kind, api = decision.kind, self.stack.airflow_api
        if kind == "clear":
            api.clear(outcome.dag_id, outcome.run_id)
        else:
            api.set_task_state(outcome.dag_id, outcome.run_id, TASK_ID, kind)
        outcome.decisions.append(decision)
        outcome.state = None if kind == "clear" else kind
        self._ended_at.pop(outcome.run_id, None)
        if kind != "clear":
            self._ended_at[outcome.run_id] = time.monotonic()

    def _has_settled(self) -> bool:
        outcomes = self.outcomes.values()
        is_busy = self._waiting or self._later or any(one.state not in FINAL_STATES for one in outcomes)
        # A planned clear is due even if the task has ended.
        if is_busy or not self._foreign.has_settled():
            return False
        if any(one and one.kind == "clear" and one.due_at for one in self._planned.values()):
            return False
        active = {run.id for one in outcomes for run in one.runs if run.ended_at is None}
        return not active - {run_id for one in outcomes for run_id in one.orphans}

    def _print_progress(self) -> None:
        outcomes = self.outcomes.values()
        ended = sum(outcome.state in FINAL_STATES for outcome in outcomes)
        found = Counter(
            kind for outcome in outcomes if outcome.state in FINAL_STATES for kind in outcome.violations()
        )
        text = ", ".join(f"{count} x {kind}" for kind, count in found.items()) or "no violations"
        self.progress.done(f"{ended} of {len(self.outcomes)} Dag runs have ended; {text}")

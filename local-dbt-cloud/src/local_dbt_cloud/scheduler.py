"""Decides which run goes next: one at a time per job, at most ``run_slots`` in the account, oldest first."""

import asyncio
import logging

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from local_dbt_cloud.account import Declaration
from local_dbt_cloud.data_directory import DataDirectory
from local_dbt_cloud.database import ACTIVE, Job, Run, RunStatus, now
from local_dbt_cloud.dbt_process import dbt_version
from local_dbt_cloud.environment_variables import variables_of_run
from local_dbt_cloud.executor import Execution
from local_dbt_cloud.job_store import definition_of
from local_dbt_cloud.run_plan import steps_of_job, steps_of_retry
from local_dbt_cloud.trigger_request import TriggerRequest

log = logging.getLogger(__name__)

CANCELLED_BY_USER = "Cancelled by user."
STOPPED = "The local dbt Cloud was stopped while this run was {}."
LOST = "The local dbt Cloud could not carry out this run to its end; its log says why."
SECONDS_UNTIL_NEXT_TRY = 2


class Scheduler:
    """Queues runs, starts them, cancels them.

    All of it happens on one event loop, and every change of a run is one transaction between two awaits, so
    that no two changes can cross. Runs that were active when an earlier local dbt Cloud ended end at once.
    """

    def __init__(
        self, declaration: Declaration, sessions: sessionmaker[Session], data: DataDirectory
    ) -> None:
        self.declaration = declaration
        self.sessions = sessions
        self.data = data
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._stopping = False
        # Runs whose course a test decides through the control API: they are never executed.
        self._controlled: set[int] = set()
        self._paused = False
        self._end_active_runs()

    @property
    def paused(self) -> bool:
        """Whether queued runs stay in the queue; setting it to False dispatches them."""
        return self._paused

    @paused.setter
    def paused(self, paused: bool) -> None:
        self._paused = paused
        if not paused:
            self._dispatch()

    def take_control(self, run_id: int) -> None:
        """Leave a run's course to the control API from now on.

        :raises ValueError: dbt executes the run already.
        """
        if run_id in self._tasks:
            raise ValueError(f"dbt executes run {run_id} already: pause the scheduler before you trigger it")
        self._controlled.add(run_id)

    def trigger(self, job_id: int, request: TriggerRequest, cause_category: str = "api") -> int:
        """Queue a run of a job, to start when nothing is in its way, and return its id."""
        with self.sessions.begin() as session:
            job = definition_of(session.get_one(Job, job_id))
            run = Run(
                job_definition_id=job_id,
                project_id=job.project_id,
                environment_id=job.environment_id,
                trigger=request.model_dump(),
                dbt_version=request.dbt_version_override or job.dbt_version or dbt_version(),
                cause_category=cause_category,
            )
            session.add(run)
        return self._queued(run)

    def retry(self, run_id: int) -> int:
        """Queue a run that goes on from where a failed run ended, with its overrides, and return its id."""
        with self.sessions.begin() as session:
            failed = session.get_one(Run, run_id)
            fields = ("job_definition_id", "project_id", "environment_id", "dbt_version")
            run = Run(
                trigger=failed.trigger | {"cause": f"Retry of run {run_id}"},
                cause_category="rerun",
                retrying_run_id=run_id,
                dbt_steps=steps_of_retry(failed, self.data),
                **{field: getattr(failed, field) for field in fields},
            )
            session.add(run)
        return self._queued(run)

    def _queued(self, run: Run) -> int:
        # Not at once: the answer to the request shows the run Queued, as dbt Cloud's does.
        asyncio.get_running_loop().call_soon(self._dispatch)
        return run.id

    async def cancel(self, run_id: int) -> None:
        """End a run: a queued one at once, a running one when its dbt has stopped; leave a finished one."""
        if task := self._tasks.get(run_id):
            task.cancel(CANCELLED_BY_USER)
            await asyncio.wait([task])
        self._end_cancelled(run_id)

    def _end_cancelled(self, run_id: int) -> None:
        with self.sessions.begin() as session:
            _end(session.get_one(Run, run_id), RunStatus.CANCELLED, CANCELLED_BY_USER)

    async def stop(self) -> None:
        """Stop every dbt and end every active run, those in the queue too; from now on none starts."""
        self._stopping = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel(STOPPED.format("running"))
        if tasks:
            await asyncio.wait(tasks)
        self._end_active_runs()

    async def discard_all_runs(self) -> None:
        """Stop every dbt, end every active run, and dispatch normally from now on."""
        self._paused = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel(CANCELLED_BY_USER)
        if tasks:
            await asyncio.wait(tasks)
        self._end_active_runs()
        self._controlled.clear()
        self._paused = False

    def _dispatch(self) -> None:
        if self._stopping or self._paused:
            return
        try:
            chosen = self._choose()
        except Exception as error:
            # As on a full disk: nothing is lost as long as it is tried again.
            log.error("Runs could not be chosen: %s", error)
            self._try_again_later()
            return
        for run in chosen:
            try:
                self._start(run)
            except Exception as error:
                # It ends at the next try; the others that were chosen with it go on.
                log.error("Run %s could not be started.", run.id, exc_info=error)
                self._try_again_later()

    def _try_again_later(self) -> None:
        asyncio.get_running_loop().call_later(SECONDS_UNTIL_NEXT_TRY, self._dispatch)

    def _choose(self) -> list[Run]:
        with self.sessions.begin() as session:
            active = session.scalars(select(Run).where(Run.status.in_(ACTIVE)).order_by(Run.id)).all()
            for run in active:
                if run.status != RunStatus.QUEUED and run.id not in self._tasks.keys() | self._controlled:
                    _end(run, RunStatus.ERROR, LOST)
            held = {run.id for run in active if run.id in self._controlled and run.status != RunStatus.QUEUED}
            busy_jobs = {run.job_definition_id for run in active if run.id in self._tasks.keys() | held}
            free_slots = self.declaration.account.run_slots - len(self._tasks) - len(held)
            chosen: list[Run] = []
            for run in active:
                if (
                    free_slots > 0
                    and run.status == RunStatus.QUEUED
                    and run.id not in self._controlled
                    and run.job_definition_id not in busy_jobs
                ):
                    run.status, run.dequeued_at = RunStatus.STARTING, now()
                    # A retry brings its steps; any other run goes by what its job says when it starts.
                    job = definition_of(session.get_one(Job, run.job_definition_id))
                    run.dbt_steps = run.dbt_steps or steps_of_job(job, TriggerRequest(**run.trigger))
                    busy_jobs.add(run.job_definition_id)
                    free_slots -= 1
                    chosen.append(run)
        return chosen

    def _start(self, run: Run) -> None:
        with self.sessions() as session:
            job = definition_of(session.get_one(Job, run.job_definition_id))
            variables = variables_of_run(session, run)
        project, environment = self.declaration.place_of(run.environment_id)
        execution = Execution(run, job, project, environment, variables, self.sessions, self.data)
        task = asyncio.get_running_loop().create_task(execution.execute(), name=f"run {run.id}")
        self._tasks[run.id] = task
        task.add_done_callback(lambda task: self._finished(run.id, task))

    def _finished(self, run_id: int, task: asyncio.Task[None]) -> None:
        del self._tasks[run_id]
        try:
            if task.cancelled():
                # Before its first step, or it would have ended by itself.
                self._end_cancelled(run_id)
            elif error := task.exception():
                log.error("Run %s could not be carried out.", run_id, exc_info=error)
        finally:
            self._dispatch()

    def _end_active_runs(self) -> None:
        with self.sessions.begin() as session:
            for run in session.scalars(select(Run).where(Run.status.in_(ACTIVE))):
                what = "queued" if run.status == RunStatus.QUEUED else "running"
                _end(run, RunStatus.CANCELLED, STOPPED.format(what))


def _end(run: Run, status: RunStatus, message: str) -> None:
    if run.status not in ACTIVE:
        return
    run.status, run.status_message, run.finished_at = status, message, now()
    for step in run.run_steps:
        if step.finished_at is None:
            step.status, step.finished_at = status, now()

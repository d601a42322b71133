"""Decides which run goes next: one at a time per job, at most ``run_slots`` in the account, oldest first."""

import asyncio
import logging
from importlib.metadata import version

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from include.local_dbt_cloud.account import Declaration, Job
from include.local_dbt_cloud.execution import Execution
from include.local_dbt_cloud.files import DataDirectory
from include.local_dbt_cloud.store import ACTIVE, Run, RunStatus, now
from include.local_dbt_cloud.trigger import TriggerRequest

log = logging.getLogger(__name__)

CANCELLED_BY_USER = "Cancelled by user."
STOPPED = "The local dbt Cloud was stopped while this run was {}."


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
        self._end_active_runs()

    def trigger(self, job: Job, request: TriggerRequest) -> int:
        """Queue a run of a job, to start when nothing is in its way, and return its id."""
        project, environment = self.declaration.place_of(job)
        with self.sessions.begin() as session:
            run = Run(
                job_definition_id=job.id,
                project_id=project.id,
                environment_id=environment.id,
                trigger=request.model_dump(),
                dbt_version=version("dbt-core"),
            )
            session.add(run)
        # Not at once: the answer to the request shows the run Queued, as dbt Cloud's does.
        asyncio.get_running_loop().call_soon(self._start_what_may)
        return run.id

    async def cancel(self, run_id: int) -> None:
        """End a run: a queued one at once, a running one when its dbt has stopped; leave a finished one."""
        if task := self._tasks.get(run_id):
            task.cancel(CANCELLED_BY_USER)
            await asyncio.wait([task])
        # The queued ones, and one that was cancelled before its task had begun.
        with self.sessions.begin() as session:
            run = session.get_one(Run, run_id)
            if run.status in ACTIVE:
                run.status, run.status_message, run.finished_at = (
                    RunStatus.CANCELLED,
                    CANCELLED_BY_USER,
                    now(),
                )

    async def stop(self) -> None:
        """Stop every dbt and end every active run, those in the queue too; from now on none starts."""
        self._stopping = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel(STOPPED.format("running"))
        if tasks:
            await asyncio.wait(tasks)
        self._end_active_runs()

    def _start_what_may(self) -> None:
        if self._stopping:
            return
        with self.sessions.begin() as session:
            active = session.scalars(select(Run).where(Run.status.in_(ACTIVE)).order_by(Run.id)).all()
            busy = [run for run in active if run.status != RunStatus.QUEUED]
            busy_jobs = {run.job_definition_id for run in busy}
            free_slots = self.declaration.account.run_slots - len(busy)
            starting: list[Run] = []
            for run in active:
                if (
                    free_slots > 0
                    and run.status == RunStatus.QUEUED
                    and run.job_definition_id not in busy_jobs
                ):
                    run.status, run.dequeued_at = RunStatus.STARTING, now()
                    busy_jobs.add(run.job_definition_id)
                    free_slots -= 1
                    starting.append(run)
        for run in starting:
            self._start(run)

    def _start(self, run: Run) -> None:
        job = self.declaration.job(run.job_definition_id)
        assert job is not None
        project, environment = self.declaration.place_of(job)
        execution = Execution(
            run_id=run.id,
            request=TriggerRequest.model_validate(run.trigger),
            job=job,
            project=project,
            environment=environment,
            account_id=self.declaration.account.id,
            sessions=self.sessions,
            data=self.data,
        )
        task = asyncio.get_running_loop().create_task(execution.carry_out(), name=f"run {run.id}")
        self._tasks[run.id] = task
        task.add_done_callback(lambda task: self._finished(run.id, task))

    def _finished(self, run_id: int, task: asyncio.Task[None]) -> None:
        del self._tasks[run_id]
        if not task.cancelled() and (error := task.exception()):
            log.error("Run %s could not be carried out.", run_id, exc_info=error)
        self._start_what_may()

    def _end_active_runs(self) -> None:
        with self.sessions.begin() as session:
            for run in session.scalars(select(Run).where(Run.status.in_(ACTIVE))):
                message = STOPPED.format("queued" if run.status == RunStatus.QUEUED else "running")
                run.status, run.status_message, run.finished_at = RunStatus.CANCELLED, message, now()
                for step in run.run_steps:
                    if step.finished_at is None:
                        step.status, step.finished_at = RunStatus.CANCELLED, now()

"""The run queue: one active run per job, at most ``run_slots`` in the account, oldest first."""

import asyncio
import logging
import shutil
from collections.abc import Iterable
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from local_dbt_cloud.account import AccountConfig
from local_dbt_cloud.data_directory import DataDirectory
from local_dbt_cloud.database import Environment, Job, Run, utc_now
from local_dbt_cloud.dbt_process import dbt_version
from local_dbt_cloud.environment_variables import effective_variables
from local_dbt_cloud.executor import RunExecution
from local_dbt_cloud.job_store import active_jobs, job_definition
from local_dbt_cloud.provisioning import run_target
from local_dbt_cloud.run_plan import plan_retry, plan_run
from local_dbt_cloud.run_status import ACTIVE_STATUSES, RunStatus
from local_dbt_cloud.simulation import SimulatedExecution, Simulator
from local_dbt_cloud.trigger_request import TriggerRequest

log = logging.getLogger(__name__)

CANCELLED_BY_USER = "Cancelled by user."
STOPPED = "The local dbt Cloud was stopped while this run was {}."
NOT_EXECUTED = "The local dbt Cloud failed to execute this run; see its log."
# Seconds.
DISPATCH_RETRY_DELAY = 2


class Scheduler:
    """Queue, dispatch and cancel runs.

    Everything happens on one event loop, and each change of a run is one transaction without an ``await``
    inside, so concurrent requests cannot interleave. Runs that an earlier process left active are canceled at
    construction.
    """

    def __init__(self, config: AccountConfig, sessions: sessionmaker[Session], data: DataDirectory) -> None:
        self.config = config
        self.sessions = sessions
        self.data = data
        self.simulator = Simulator({job.id: job.simulation for job in config.jobs if job.simulation})
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._stopping = False
        # IDs of the runs whose status tests set through the control API; they are never dispatched.
        self._controlled: set[int] = set()
        self._paused = False
        self._cancel_active_runs()

    @property
    def paused(self) -> bool:
        """Whether runs stay queued; setting it to False dispatches them."""
        return self._paused

    @paused.setter
    def paused(self, paused: bool) -> None:
        self._paused = paused
        if not paused:
            self._dispatch()

    def take_control(self, run_id: int) -> None:
        """Leave the status of a run to the control API: never dispatch it.

        :raises ValueError: dbt is executing the run.
        """
        if run_id in self._tasks:
            raise ValueError(f"dbt is executing run {run_id}: pause the scheduler before you trigger a run")
        self._controlled.add(run_id)

    def trigger(self, job_id: int, request: TriggerRequest, cause_category: str = "api") -> int:
        """Queue a run of a job and return its ID."""
        with self.sessions.begin() as session:
            job = job_definition(session.get_one(Job, job_id))
            environment = session.get_one(Environment, job.environment_id).definition
            run = Run(
                job_definition_id=job_id,
                project_id=job.project_id,
                environment_id=job.environment_id,
                trigger=request.model_dump(),
                dbt_version=(
                    request.dbt_version_override
                    or job.dbt_version
                    or environment["dbt_version"]
                    or dbt_version()
                ),
                cause_category=cause_category,
            )
            session.add(run)
        self._dispatch_soon()
        return run.id

    def retry(self, run_id: int) -> int:
        """Queue a run that retries a failed run from the point of failure, and return its ID."""
        with self.sessions.begin() as session:
            failed = session.get_one(Run, run_id)
            run = Run(
                job_definition_id=failed.job_definition_id,
                project_id=failed.project_id,
                environment_id=failed.environment_id,
                trigger=failed.trigger | {"cause": f"Retry of run {run_id}"},
                dbt_version=failed.dbt_version,
                cause_category="rerun",
                retrying_run_id=run_id,
                dbt_steps=plan_retry(failed, self.data),
            )
            session.add(run)
        self._dispatch_soon()
        return run.id

    def run_ended(self, run_id: int) -> None:
        """Trigger the jobs that run on completion of a run's job in its status."""
        if self._stopping:
            return
        with self.sessions() as session:
            run = session.get_one(Run, run_id)
            waiting = [
                job.id
                for job in active_jobs(session)
                if _waits_for(run, job.definition["job_completion_trigger_condition"])
            ]
        for job_id in waiting:
            cause = f"Completion of run {run_id} of job {run.job_definition_id}"
            self.trigger(job_id, TriggerRequest(cause=cause), "job completion")

    async def cancel(self, run_id: int) -> None:
        """Cancel a run; if it is running, wait until its dbt has stopped. A finished run is not changed."""
        if task := self._tasks.get(run_id):
            task.cancel(CANCELLED_BY_USER)
            await asyncio.wait([task])
        if self._end_run(run_id, RunStatus.CANCELLED, CANCELLED_BY_USER):
            self.run_ended(run_id)

    async def stop(self) -> None:
        """Stop all dbt processes, cancel all active runs, and dispatch none from now on."""
        self._stopping = True
        await self._cancel_tasks(STOPPED.format("running"))
        self._cancel_active_runs()

    async def discard_all_runs(self) -> None:
        """Stop all dbt processes, cancel all active runs, and return to the initial state."""
        self._paused = self._stopping = True
        await self._cancel_tasks(CANCELLED_BY_USER)
        self._cancel_active_runs()
        self._controlled.clear()
        self.simulator.reset()
        self._paused = self._stopping = False

    async def _cancel_tasks(self, message: str) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel(message)
        if tasks:
            await asyncio.wait(tasks)

    def _dispatch_soon(self) -> None:
        # Not immediately: the response to a trigger shows the run as Queued, as dbt Cloud's does.
        asyncio.get_running_loop().call_soon(self._dispatch)

    def _dispatch_later(self, seconds: float = DISPATCH_RETRY_DELAY) -> None:
        asyncio.get_running_loop().call_later(seconds, self._dispatch)

    def _dispatch(self) -> None:
        if self._stopping or self._paused:
            return
        try:
            runs = self._dequeue()
        except Exception as error:
            # For example a full disk.
            log.error("Failed to read the run queue, retrying in %d s: %s", DISPATCH_RETRY_DELAY, error)
            self._dispatch_later()
            return
        for run in runs:
            try:
                self._start(run)
            except Exception as error:
                # The next dispatch marks this run as failed. The other dequeued runs must start.
                log.error("Failed to start run %d.", run.id, exc_info=error)
                self._dispatch_later()

    def _dequeue(self) -> list[Run]:
        """Set as many queued runs to Starting as jobs and run slots allow, and return them."""
        with self.sessions.begin() as session:
            active = session.scalars(
                select(Run).where(Run.status.in_(ACTIVE_STATUSES)).order_by(Run.id)
            ).all()
            orphans = self._end_orphans(active)
            controlled = {
                run.id for run in active if run.id in self._controlled and run.status != RunStatus.QUEUED
            }
            busy_jobs = {run.job_definition_id for run in active if run.id in self._tasks.keys() | controlled}
            free_slots = self.config.account.run_slots - len(self._tasks) - len(controlled)
            dequeued: list[Run] = []
            for run in active:
                is_queued = run.status == RunStatus.QUEUED and run.id not in self._controlled
                if is_queued and free_slots > 0 and run.job_definition_id not in busy_jobs:
                    if (seconds := self.simulator.seconds_to_wait(run)) > 0:
                        self._dispatch_later(seconds)
                        continue
                    run.status, run.dequeued_at = RunStatus.STARTING, utc_now()
                    # Only a retry has steps already. Other runs use the job as it is defined when they start.
                    job = job_definition(session.get_one(Job, run.job_definition_id))
                    run.dbt_steps = run.dbt_steps or plan_run(job, TriggerRequest(**run.trigger))
                    busy_jobs.add(run.job_definition_id)
                    free_slots -= 1
                    dequeued.append(run)
        for run_id in orphans:
            self.run_ended(run_id)
        return dequeued

    def _end_orphans(self, active: Iterable[Run]) -> list[int]:
        """Fail the runs that have started but that neither a task executes nor a test controls.

        :return: Their IDs.
        """
        orphans = [
            run
            for run in active
            if run.status != RunStatus.QUEUED and run.id not in self._tasks.keys() | self._controlled
        ]
        for run in orphans:
            _end(run, RunStatus.ERROR, NOT_EXECUTED)
        return [run.id for run in orphans]

    def _start(self, run: Run) -> None:
        execution = self._execution(run)
        task = asyncio.get_running_loop().create_task(execution.execute(), name=f"run {run.id}")
        self._tasks[run.id] = task
        task.add_done_callback(lambda task: self._on_done(run.id, task))

    def _execution(self, run: Run) -> RunExecution | SimulatedExecution:
        with self.sessions() as session:
            job = job_definition(session.get_one(Job, run.job_definition_id))
            if course := self.simulator.next_course(run.job_definition_id):
                self.simulator.started[run.job_definition_id] += 1
                return SimulatedExecution(run, job, course, self.sessions, self.data)
            target = run_target(session, self.config, run)
            variables = effective_variables(session, run)
        return RunExecution(run, job, target, variables, self.sessions, self.data)

    def _on_done(self, run_id: int, task: asyncio.Task[None]) -> None:
        del self._tasks[run_id]
        try:
            if task.cancelled():
                # Canceled before execute() began, which otherwise ends the run itself.
                self._end_run(run_id, RunStatus.CANCELLED, CANCELLED_BY_USER)
            elif error := task.exception():
                log.error("Failed to execute run %d.", run_id, exc_info=error)
            self.run_ended(run_id)
        finally:
            self._dispatch()

    def _end_run(self, run_id: int, status: RunStatus, message: str) -> bool:
        with self.sessions.begin() as session:
            return _end(session.get_one(Run, run_id), status, message)

    def _cancel_active_runs(self) -> None:
        with self.sessions.begin() as session:
            for run in session.scalars(select(Run).where(Run.status.in_(ACTIVE_STATUSES))):
                status = "queued" if run.status == RunStatus.QUEUED else "running"
                _end(run, RunStatus.CANCELLED, STOPPED.format(status))
                # An earlier process that was killed did not delete it.
                shutil.rmtree(self.data.repository_copy(run.id), ignore_errors=True)


def _waits_for(run: Run, completion_trigger: dict[str, Any] | None) -> bool:
    condition = completion_trigger["condition"] if completion_trigger else {}
    return condition.get("job_id") == run.job_definition_id and run.status in condition["statuses"]


def _end(run: Run, status: RunStatus, message: str) -> bool:
    """End a run if it is active, and return whether it was."""
    if run.status not in ACTIVE_STATUSES:
        return False
    run.status, run.status_message, run.finished_at = status, message, utc_now()
    for step in run.run_steps:
        if step.finished_at is None:
            step.status, step.finished_at = status, utc_now()
    return True

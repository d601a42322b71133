"""Simulated jobs: their runs follow a declared course, without dbt."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy.orm import Session, sessionmaker

from local_dbt_cloud.data_directory import DataDirectory
from local_dbt_cloud.database import Run, RunStep, utc_now
from local_dbt_cloud.executor import TIMED_OUT
from local_dbt_cloud.job_definition import JobDefinition
from local_dbt_cloud.run_control import set_run_status
from local_dbt_cloud.run_course import Course, FinishedStep, RunStatusRequest
from local_dbt_cloud.run_status import RunStatus
from local_dbt_cloud.trigger_request import TriggerRequest

# Steps before those of the job.
PREPARATION = (
    "Clone git repository", "Create profile from connection DuckDB", "Invoke dbt with `dbt deps`",
)  # fmt: skip


@dataclass
class Simulator:
    """The courses of simulated jobs: one for each run in order, of which the last repeats.

    :param declared: Courses of the jobs that account.yaml declares as simulated, by job ID.
    """

    declared: Mapping[int, Sequence[Course]]
    courses: dict[int, Sequence[Course]] = field(init=False)
    started: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all courses but the declared ones."""
        self.courses = dict(self.declared)
        self.started.clear()

    def simulate(self, job_id: int, courses: Sequence[Course]) -> None:
        """Simulate the runs of a job from now on."""
        self.courses[job_id] = courses
        del self.started[job_id]

    def next_course(self, job_id: int) -> Course | None:
        """Return the course of the next run of a job, or None if it is not simulated."""
        courses = self.courses.get(job_id)
        return courses[min(self.started[job_id], len(courses) - 1)] if courses else None

    def seconds_to_wait(self, run: Run) -> float:
        """Return how many more seconds a queued run stays queued."""
        course = self.next_course(run.job_definition_id)
        due = run.created_at + timedelta(seconds=course.queued) if course else run.created_at
        return (due - utc_now()).total_seconds()


@dataclass(frozen=True)
class SimulatedExecution:
    """The execution of a simulated run."""

    run: Run
    job: JobDefinition
    course: Course
    sessions: sessionmaker[Session]
    data: DataDirectory

    async def execute(self) -> None:
        """Follow the course.

        The run ends as Cancelled if it exceeds the timeout of its job, or if the awaiting task is canceled.
        """
        timeout = TriggerRequest.model_validate(self.run.trigger).timeout(self.job)
        try:
            await asyncio.sleep(self.course.starting)
            self._set(RunStatusRequest(status=RunStatus.RUNNING))
            async with asyncio.timeout(timeout):
                await asyncio.sleep(self.course.running)
            self._finish()
        except (TimeoutError, asyncio.CancelledError) as error:
            message = str(error) or TIMED_OUT.format(timeout)
            self._set(RunStatusRequest(status=RunStatus.CANCELLED, status_message=message))

    def _finish(self) -> None:
        """End the run with its steps, which are those of its job unless the course declares others."""
        commands = [command for command, *_ in self.run.dbt_steps[1:]]
        steps = self.course.steps or [FinishedStep(command=command) for command in commands]
        if not self.course.steps and steps:
            steps[-1].status = self.course.status
        with self.sessions.begin() as session:
            run = session.get_one(Run, self.run.id)
            run.dbt_steps = run.dbt_steps[:1]
            for index, name in enumerate(PREPARATION, start=1):
                step = RunStep(run_id=run.id, index=index, name=name, status=RunStatus.SUCCESS)
                step.finished_at = utc_now()
                session.add(step)
            set_run_status(session, self.data, run, self.course.model_copy(update={"steps": steps}))

    def _set(self, request: RunStatusRequest) -> None:
        with self.sessions.begin() as session:
            set_run_status(session, self.data, session.get_one(Run, self.run.id), request)

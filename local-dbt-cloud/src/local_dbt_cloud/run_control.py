"""Create runs and set their status on behalf of tests, without running dbt."""

import json
from datetime import UTC, datetime

from pydantic import field_validator
from sqlalchemy.orm import Session

from local_dbt_cloud.data_directory import DataDirectory
from local_dbt_cloud.database import EPOCH, Job, Run, RunStep, utc_now
from local_dbt_cloud.dbt_process import dbt_version
from local_dbt_cloud.job_store import job_definition
from local_dbt_cloud.run_course import AnyStatus, FinishedStep, RunStatusRequest
from local_dbt_cloud.run_plan import FIRST_DBT_STEP, DbtStep, plan_run
from local_dbt_cloud.run_status import ACTIVE_STATUSES, RunStatus
from local_dbt_cloud.trigger_request import TriggerRequest
from local_dbt_cloud.validation import Id, ShortText


class UpdateRunRequest(RunStatusRequest):
    """Set the status of an existing run; with ``only_if_active``, a run that has ended is not changed."""

    only_if_active: bool = False


class CreateRunRequest(RunStatusRequest):
    """Create a run that dbt never executes."""

    status: AnyStatus = RunStatus.SUCCESS
    job_id: Id
    cause: ShortText = "Created through /local/runs"
    dbt_version: ShortText | None = None
    created_at: datetime | None = None

    @field_validator("created_at")
    @classmethod
    def _check_time(cls, time: datetime | None) -> datetime | None:
        time = time and time.replace(tzinfo=time.tzinfo or UTC)
        if time and not EPOCH <= time <= utc_now():
            raise ValueError("a time between 1970 and now is needed, in UTC unless it has an offset")
        return time


def create_run(session: Session, data: DataDirectory, job: Job, request: CreateRunRequest) -> Run:
    """Store a run of a job with the requested status and steps."""
    definition = job_definition(job)
    run = Run(
        job_definition_id=job.id,
        project_id=definition.project_id,
        environment_id=definition.environment_id,
        trigger=TriggerRequest(cause=request.cause).model_dump(),
        dbt_version=request.dbt_version or dbt_version(),
        created_at=request.created_at or utc_now(),
        dbt_steps=[],
    )
    session.add(run)
    session.flush()
    set_run_status(session, data, run, request)
    return run


def set_run_status(session: Session, data: DataDirectory, run: Run, request: RunStatusRequest) -> None:
    """Set the status of a run, with the timestamps and steps that a real run in this status has."""
    now = utc_now()
    run.status, run.status_message = request.status, request.status_message
    if request.status not in (RunStatus.QUEUED, RunStatus.CANCELLED):
        run.dequeued_at = run.dequeued_at or now
    if request.status in (RunStatus.RUNNING, RunStatus.SUCCESS, RunStatus.ERROR):
        run.started_at = run.started_at or now
    run.finished_at = None if request.status in ACTIVE_STATUSES else run.finished_at or now
    if request.steps:
        earlier_steps = run.dbt_steps or [DbtStep("dbt deps")]
        run.dbt_steps = [*earlier_steps, *(DbtStep(step.command) for step in request.steps)]
        for index, step in enumerate(request.steps, start=FIRST_DBT_STEP + len(earlier_steps)):
            _add_step(session, data, run.id, index, step)
    elif run.started_at and not run.dbt_steps:
        job = job_definition(session.get_one(Job, run.job_definition_id))
        run.dbt_steps = plan_run(job, TriggerRequest.model_validate(run.trigger))


def _add_step(session: Session, data: DataDirectory, run_id: int, index: int, step: FinishedStep) -> None:
    name = f"Invoke dbt with `{step.command}`"
    session.add(RunStep(run_id=run_id, index=index, name=name, status=step.status, finished_at=utc_now()))
    for path, content in step.artifacts.items():
        file = data.artifacts(run_id, index) / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content), encoding="utf-8")

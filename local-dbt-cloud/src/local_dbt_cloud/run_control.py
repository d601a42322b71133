"""Decide a run's course from outside, for tests: create it, hold it in a status, end it."""

import json
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator
from sqlalchemy.orm import Session

from local_dbt_cloud.data_directory import DataDirectory
from local_dbt_cloud.database import ACTIVE, Job, Run, RunStatus, RunStep, now
from local_dbt_cloud.dbt_commands import dbt_arguments
from local_dbt_cloud.dbt_process import dbt_version
from local_dbt_cloud.job_store import definition_of
from local_dbt_cloud.run_plan import FIRST_DBT_STEP, DbtStep, steps_of_job
from local_dbt_cloud.trigger_request import TriggerRequest
from local_dbt_cloud.validation import Id, Name, Text


class ControlledStep(BaseModel):
    """A finished step that called dbt, with the artifacts that it left: JSON by path."""

    model_config = ConfigDict(extra="forbid")

    command: Text = "dbt build"
    status: RunStatus = RunStatus.SUCCESS
    artifacts: dict[str, Any] = {}

    @field_validator("command")
    @classmethod
    def _is_dbt_command(cls, command: str) -> str:
        dbt_arguments(command)
        return command

    @field_validator("artifacts")
    @classmethod
    def _are_relative_paths(cls, artifacts: dict[str, Any]) -> dict[str, Any]:
        for path in artifacts:
            pure = PurePosixPath(path)
            if not pure.parts or pure.is_absolute() or ".." in pure.parts or "\x00" in path:
                raise ValueError(f"{path!r} is not a path inside a target directory")
        return artifacts


class RunChange(BaseModel):
    """What becomes of a run: ``steps`` are appended to those it has."""

    model_config = ConfigDict(extra="forbid")

    status: RunStatus
    status_message: Text | None = None
    steps: list[ControlledStep] = []


class ExistingRunChange(RunChange):
    """What becomes of an existing run; with ``only_if_active`` one that has ended stays as it is."""

    only_if_active: bool = False


class NewRun(RunChange):
    """A run that dbt never executes."""

    status: RunStatus = RunStatus.SUCCESS
    job_id: Id
    cause: Name = "Created through /local/runs"
    dbt_version: Name | None = None
    created_at: datetime | None = None


def create_run(session: Session, data: DataDirectory, job: Job, new: NewRun) -> Run:
    """Store a run that nothing executes, in the status that ``new`` gives it."""
    definition = definition_of(job)
    run = Run(
        job_definition_id=job.id,
        project_id=definition.project_id,
        environment_id=definition.environment_id,
        trigger=TriggerRequest(cause=new.cause).model_dump(),
        dbt_version=new.dbt_version or dbt_version(),
        created_at=new.created_at or now(),
        dbt_steps=[],
    )
    session.add(run)
    session.flush()
    change_run(session, data, run, new)
    return run


def change_run(session: Session, data: DataDirectory, run: Run, change: RunChange) -> None:
    """Set a run's status, with the times and steps that a run in that status has."""
    moment = now()
    run.status, run.status_message = change.status, change.status_message
    if change.status not in (RunStatus.QUEUED, RunStatus.CANCELLED):
        run.dequeued_at = run.dequeued_at or moment
    if change.status in (RunStatus.RUNNING, RunStatus.SUCCESS, RunStatus.ERROR):
        run.started_at = run.started_at or moment
    run.finished_at = None if change.status in ACTIVE else run.finished_at or moment
    if change.steps:
        first = len(run.dbt_steps) or 1
        run.dbt_steps = [
            *(run.dbt_steps or [DbtStep("dbt deps")]),
            *(DbtStep(step.command) for step in change.steps),
        ]
        for index, step in enumerate(change.steps, start=FIRST_DBT_STEP + first):
            _add_step(session, data, run.id, index, step)
    elif run.started_at and not run.dbt_steps:
        job = definition_of(session.get_one(Job, run.job_definition_id))
        run.dbt_steps = steps_of_job(job, TriggerRequest.model_validate(run.trigger))


def _add_step(session: Session, data: DataDirectory, run_id: int, index: int, step: ControlledStep) -> None:
    name = f"Invoke dbt with `{step.command}`"
    session.add(RunStep(run_id=run_id, index=index, name=name, status=step.status, finished_at=now()))
    for path, content in step.artifacts.items():
        file = data.artifacts(run_id, index) / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content), encoding="utf-8")

"""Runs that dbt does not execute: their status, their finished steps and the seconds in each state."""

from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from local_dbt_cloud.dbt_commands import dbt_arguments
from local_dbt_cloud.run_status import ACTIVE_STATUSES, RunStatus
from local_dbt_cloud.validation import Text


def _number(status: Any) -> Any:
    names = {known.name.lower(): known for known in RunStatus}
    return names.get(status, status) if isinstance(status, str) else status


# By name in account.yaml, by number in dbt Cloud's API.
AnyStatus = Annotated[RunStatus, BeforeValidator(_number)]


class FinishedStep(BaseModel):
    """A finished dbt step; ``artifacts`` maps paths to JSON."""

    model_config = ConfigDict(extra="forbid")

    command: Text = "dbt build"
    status: AnyStatus = RunStatus.SUCCESS
    artifacts: dict[str, Any] = {}

    @field_validator("command")
    @classmethod
    def _check_command(cls, command: str) -> str:
        dbt_arguments(command)
        return command

    @field_validator("artifacts")
    @classmethod
    def _check_paths(cls, artifacts: dict[str, Any]) -> dict[str, Any]:
        paths = {PurePosixPath(path) for path in artifacts}
        for path in paths:
            # The encoding rejects what a file name cannot contain; 255 is the limit of file systems.
            is_name = "\x00" not in str(path) and len(str(path).encode()) <= 255
            if not is_name or not path.parts or path.is_absolute() or ".." in path.parts:
                raise ValueError(f"{str(path)!r} is not a path inside a target directory")
            if not paths.isdisjoint(path.parents):
                raise ValueError(f"{str(path)!r} is inside another artifact")
        return artifacts


class RunStatusRequest(BaseModel):
    """A status for a run, and finished steps to append to it."""

    model_config = ConfigDict(extra="forbid")

    status: AnyStatus
    status_message: Text | None = None
    steps: list[FinishedStep] = []


StateSeconds = Annotated[float, Field(ge=0, le=86_400)]


class Course(RunStatusRequest):
    """The course of a run: seconds per state, and the status, message and steps with which it ends."""

    status: AnyStatus = RunStatus.SUCCESS
    queued: StateSeconds = 0
    starting: StateSeconds = 0
    running: StateSeconds = 0

    @field_validator("status")
    @classmethod
    def _check_status(cls, status: RunStatus) -> RunStatus:
        if status in ACTIVE_STATUSES:
            raise ValueError("a course ends with status success, error or cancelled")
        return status


Courses = Annotated[list[Course], Field(min_length=1)]

"""Endpoints for environment variables."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from pydantic import AliasChoices, Field, field_validator
from sqlalchemy import select

from local_dbt_cloud.api.envelope import api_error, envelope
from local_dbt_cloud.api.parameters import PathId, SerializerDependency
from local_dbt_cloud.database import EnvironmentVariable, JobState
from local_dbt_cloud.dbt_commands import RESERVED_OPTIONS
from local_dbt_cloud.environment_variables import display_value, visible_variables
from local_dbt_cloud.job_store import active_job
from local_dbt_cloud.validation import Id, InputModel, Text

router = APIRouter(prefix="/projects/{project_id}/environment-variables")


class VariableRequest(InputModel):
    """``CustomEnvironmentVariableRequest`` of dbt Cloud's OpenAPI file: a value and its scope."""

    name: Annotated[str, Field(pattern=r"^DBT_[A-Z0-9_]+$", max_length=255)]
    type: Literal["project", "environment", "job"] = "job"
    environment_id: Id | None = None
    job_definition_id: Id | None = None
    raw_value: Annotated[Text, Field(validation_alias=AliasChoices("raw_value", "display_value"))]

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        # dbt also reads its options from variables: --target-path from DBT_TARGET_PATH and
        # DBT_ENGINE_TARGET_PATH.
        option = name.removeprefix("DBT_").removeprefix("ENGINE_").lower().replace("_", "-")
        if f"--{option}" in RESERVED_OPTIONS | {"--downloads-dir"}:
            raise ValueError("dbt Cloud sets this variable itself")
        return name


@router.get("/job")
async def list_job_variables(
    serializer: SerializerDependency, project_id: PathId, job_definition_id: Annotated[Id, Query()]
) -> JSONResponse:
    """List the variables that runs of a job can see, by name and scope."""
    job = active_job(serializer.session, job_definition_id)
    if job is None or job.definition["project_id"] != project_id:
        raise api_error(404)
    environment_id = job.definition["environment_id"]
    by_name: dict[str, dict[str, Any]] = {}
    for variable in visible_variables(serializer.session, project_id, environment_id, job.id):
        by_name.setdefault(variable.name, {})[variable.type] = _id_and_value(variable)
    return envelope(by_name)


@router.get("/environment")
async def list_project_variables(serializer: SerializerDependency, project_id: PathId) -> JSONResponse:
    """List the variables of a project, by name and environment; ``project`` is the project's own value."""
    environments = {
        environment.id: environment.name
        for environment in serializer.service.config.environments
        if environment.project_id == project_id
    }
    variables = select(EnvironmentVariable).where(
        EnvironmentVariable.project_id == project_id, EnvironmentVariable.type != "job"
    )
    by_name: dict[str, dict[str, Any]] = {}
    for variable in serializer.session.scalars(variables.order_by(EnvironmentVariable.id)):
        scope = environments.get(variable.environment_id or 0, "project")
        by_name.setdefault(variable.name, {})[scope] = _id_and_value(variable)
    return envelope({"environments": ["project", *environments.values()], "variables": by_name})


@router.post("")
async def create_variable(
    serializer: SerializerDependency, project_id: PathId, request: VariableRequest
) -> JSONResponse:
    """Create the value of a variable for a project, an environment or a job."""
    return _store(serializer, EnvironmentVariable(project_id=project_id), request)


@router.post("/{variable_id}")
async def update_variable(
    serializer: SerializerDependency, project_id: PathId, variable_id: PathId, request: VariableRequest
) -> JSONResponse:
    """Update a value."""
    return _store(serializer, _variable(serializer, project_id, variable_id), request)


@router.delete("/{variable_id}")
async def delete_variable(
    serializer: SerializerDependency, project_id: PathId, variable_id: PathId
) -> JSONResponse:
    """Delete a value."""
    variable = _variable(serializer, project_id, variable_id)
    serializer.session.delete(variable)
    serializer.session.commit()
    return envelope(serializer.variable(variable) | {"state": JobState.DELETED})


def _id_and_value(variable: EnvironmentVariable) -> dict[str, Any]:
    return {"id": variable.id, "value": display_value(variable)}


def _variable(serializer: SerializerDependency, project_id: int, variable_id: int) -> EnvironmentVariable:
    variable = serializer.session.get(EnvironmentVariable, variable_id)
    if variable is None or variable.project_id != project_id:
        raise api_error(404)
    return variable


def _store(
    serializer: SerializerDependency, variable: EnvironmentVariable, request: VariableRequest
) -> JSONResponse:
    config = serializer.service.config
    if config.project(variable.project_id) is None:
        raise api_error(404)
    if request.type == "environment" and config.environment(request.environment_id or 0) is None:
        raise api_error(400, {"environment_id": f"Environment {request.environment_id} does not exist."})
    if request.type == "job" and active_job(serializer.session, request.job_definition_id or 0) is None:
        raise api_error(400, {"job_definition_id": f"Job {request.job_definition_id} does not exist."})
    for field, value in request.model_dump().items():
        setattr(variable, field, value)
    serializer.session.add(variable)
    serializer.session.commit()
    return envelope(serializer.variable(variable))

"""Endpoints for the environment variables of a project, as far as jobs use them."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from pydantic import AliasChoices, Field, field_validator
from sqlalchemy import select

from local_dbt_cloud.api.authentication import Id, SerializerDependency
from local_dbt_cloud.api.envelope import envelope, refusal
from local_dbt_cloud.database import EnvironmentVariable
from local_dbt_cloud.dbt_commands import RESERVED_OPTIONS
from local_dbt_cloud.environment_variables import display_value, variables_in_reach
from local_dbt_cloud.job_store import active_job
from local_dbt_cloud.validation import Entry, Text
from local_dbt_cloud.validation import Id as GivenId

router = APIRouter(prefix="/projects/{project_id}/environment-variables")


class VariableRequest(Entry):
    """CustomEnvironmentVariableRequest of dbt Cloud's OpenAPI file: a value and its scope."""

    name: Annotated[str, Field(pattern=r"^DBT_[A-Z0-9_]+$", max_length=255)]
    type: Literal["project", "environment", "job"] = "job"
    environment_id: GivenId | None = None
    job_definition_id: GivenId | None = None
    raw_value: Annotated[Text, Field(validation_alias=AliasChoices("raw_value", "display_value"))]

    @field_validator("name")
    @classmethod
    def _is_free(cls, name: str) -> str:
        # dbt reads its options from variables too: DBT_TARGET_PATH and DBT_ENGINE_TARGET_PATH are one.
        words = name.removeprefix("DBT_").removeprefix("ENGINE_").lower().split("_")
        if "--" + "-".join(words) in RESERVED_OPTIONS | {"--downloads-dir"}:
            raise ValueError("dbt Cloud sets this variable itself")
        return name


@router.get("/job")
async def list_variables_of_job(
    serializer: SerializerDependency, project_id: Id, job_definition_id: Annotated[GivenId, Query()]
) -> JSONResponse:
    """List the variables that a job's runs can see, by name and scope."""
    job = active_job(serializer.session, job_definition_id)
    if job is None or job.definition["project_id"] != project_id:
        raise refusal(404)
    variables: dict[str, dict[str, Any]] = {}
    for one in variables_in_reach(serializer.session, project_id, job.definition["environment_id"], job.id):
        variables.setdefault(one.name, {})[one.type] = {"id": one.id, "value": display_value(one)}
    return envelope(variables)


@router.get("/environment")
async def list_variables_by_environment(serializer: SerializerDependency, project_id: Id) -> JSONResponse:
    """List the variables of a project, by name and name of the environment, or "project"."""
    environments = {
        one.id: one.name
        for one in serializer.service.declaration.environments
        if one.project_id == project_id
    }
    variables: dict[str, dict[str, Any]] = {}
    of_project = select(EnvironmentVariable).where(
        EnvironmentVariable.project_id == project_id, EnvironmentVariable.type != "job"
    )
    for one in serializer.session.scalars(of_project.order_by(EnvironmentVariable.id)):
        place = environments.get(one.environment_id or 0, "project")
        variables.setdefault(one.name, {})[place] = {"id": one.id, "value": display_value(one)}
    return envelope({"environments": ["project", *environments.values()], "variables": variables})


@router.post("")
async def create_variable(
    serializer: SerializerDependency, project_id: Id, request: VariableRequest
) -> JSONResponse:
    """Give a variable a value in a scope."""
    return _store(serializer, EnvironmentVariable(project_id=project_id), request)


@router.post("/{variable_id}")
async def update_variable(
    serializer: SerializerDependency, project_id: Id, variable_id: Id, request: VariableRequest
) -> JSONResponse:
    """Change a value."""
    return _store(serializer, _variable(serializer, project_id, variable_id), request)


@router.delete("/{variable_id}")
async def delete_variable(serializer: SerializerDependency, project_id: Id, variable_id: Id) -> JSONResponse:
    """Remove a value."""
    variable = _variable(serializer, project_id, variable_id)
    serializer.session.delete(variable)
    serializer.session.commit()
    return envelope(serializer.variable(variable) | {"state": 2})


def _variable(serializer: SerializerDependency, project_id: int, variable_id: int) -> EnvironmentVariable:
    variable = serializer.session.get(EnvironmentVariable, variable_id)
    if variable is None or variable.project_id != project_id:
        raise refusal(404)
    return variable


def _store(
    serializer: SerializerDependency, variable: EnvironmentVariable, request: VariableRequest
) -> JSONResponse:
    declaration = serializer.service.declaration
    if declaration.project(variable.project_id) is None:
        raise refusal(404)
    if request.type == "environment" and declaration.environment(request.environment_id or 0) is None:
        raise refusal(400, {"environment_id": "A variable of an environment names one that exists."})
    if request.type == "job" and active_job(serializer.session, request.job_definition_id or 0) is None:
        raise refusal(400, {"job_definition_id": "A variable of a job names one that exists."})
    for field, value in request.model_dump().items():
        setattr(variable, field, value)
    serializer.session.add(variable)
    serializer.session.commit()
    return envelope(serializer.variable(variable))

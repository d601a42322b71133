"""Endpoints for environment variables."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import Query
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field
from sqlalchemy import select

from local_dbt_cloud.api.authentication import account_router
from local_dbt_cloud.api.envelope import api_error, envelope
from local_dbt_cloud.api.parameters import PathId, SerializerDependency
from local_dbt_cloud.database import AccountObject, Environment, EnvironmentVariable, Job, JobState, Project
from local_dbt_cloud.dbt_commands import RESERVED_OPTIONS
from local_dbt_cloud.environment_variables import SECRET_PREFIX, display_value, is_mask, visible_variables
from local_dbt_cloud.job_store import active_job
from local_dbt_cloud.provisioning import active_object, active_objects
from local_dbt_cloud.validation import Id, InputModel, ShortText, Text

router = account_router(prefix="/projects/{project_id}/environment-variables")


def _check_name(name: str) -> str:
    # dbt also reads its options from variables: --target-path from DBT_TARGET_PATH and
    # DBT_ENGINE_TARGET_PATH.
    option = name.removeprefix("DBT_").removeprefix("ENGINE_").lower().replace("_", "-")
    if f"--{option}" in RESERVED_OPTIONS | {"--downloads-dir"}:
        raise ValueError("dbt Cloud sets this variable itself")
    return name


IS_MASK = "This is the mask of a secret: send the value, or omit it to keep the stored one."
# Field with the ID of the object that a value is for, by the type of the value.
OWNERS: dict[str, tuple[str, type[AccountObject]]] = {
    "environment": ("environment_id", Environment),
    "job": ("job_definition_id", Job),
}

VariableName = Annotated[str, Field(pattern=r"^DBT_[A-Z0-9_]+$", max_length=255), AfterValidator(_check_name)]


class VariableRequest(InputModel):
    """``CustomEnvironmentVariableRequest`` of dbt Cloud's OpenAPI file: a value and its scope."""

    name: VariableName
    type: Literal["project", "environment", "job"] = "job"
    environment_id: Id | None = None
    job_definition_id: Id | None = None
    raw_value: Annotated[Text, Field(validation_alias=AliasChoices("raw_value", "display_value"))]


class Values(BaseModel):
    """Values of a variable, by environment name, "project" or, in an update, ID."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Text | None]


class CreatedVariable(Values):
    """``CustomEnvironmentVariableBulkRequest`` of dbt Cloud's OpenAPI file."""

    new_name: VariableName


class UpdatedVariable(Values):
    """A variable with its new name, and with values to set or, if null or empty, to delete."""

    name: VariableName
    new_name: VariableName | None = None


class BulkCreateRequest(BaseModel):
    """Body that creates a variable with several values."""

    env_var: CreatedVariable


class BulkUpdateRequest(BaseModel):
    """Body that updates a variable with several values."""

    env_vars: UpdatedVariable


class BulkDeleteRequest(BaseModel):
    """Body that deletes a variable with all values of the project and its environments."""

    name: ShortText


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
    environments = _environments(serializer, project_id)
    names = {environment_id: name for name, environment_id in environments.items()}
    by_name: dict[str, dict[str, Any]] = {}
    for variable in _of_project(serializer, project_id):
        # The name may belong to another environment now, or the environment to another project.
        if scope := names.get(variable.environment_id):
            by_name.setdefault(variable.name, {})[scope] = _id_and_value(variable)
    return envelope({"environments": list(environments), "variables": by_name})


@router.post("/bulk")
async def create_values(
    serializer: SerializerDependency, project_id: PathId, request: BulkCreateRequest
) -> JSONResponse:
    """Create a variable with values for the project and environments."""
    return _store_values(serializer, project_id, request.env_var.new_name, request.env_var)


@router.put("/bulk")
async def update_values(
    serializer: SerializerDependency, project_id: PathId, request: BulkUpdateRequest
) -> JSONResponse:
    """Rename a variable, and set or delete values for the project and environments."""
    name, new_name = request.env_vars.name, request.env_vars.new_name or request.env_vars.name
    stored = _of_project(serializer, project_id, name)
    if not stored:
        raise api_error(404)
    if name != new_name and _of_project(serializer, project_id, new_name):
        raise api_error(400, {"new_name": f"Variable {new_name} already exists."})
    if name.startswith(SECRET_PREFIX) and not new_name.startswith(SECRET_PREFIX):
        raise api_error(400, {"new_name": f"The new name of a secret must begin with {SECRET_PREFIX}."})
    for variable in stored:
        variable.name = new_name
    return _store_values(serializer, project_id, new_name, request.env_vars)


@router.delete("/bulk")
async def delete_values(
    serializer: SerializerDependency, project_id: PathId, request: BulkDeleteRequest
) -> JSONResponse:
    """Delete a variable with all its values."""
    variables = select(EnvironmentVariable).filter_by(project_id=project_id, name=request.name)
    deleted = serializer.session.scalars(variables).all()
    if not deleted:
        raise api_error(404)
    for variable in deleted:
        serializer.session.delete(variable)
    serializer.session.commit()
    return _bulk_response(deleted=deleted)


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
    session = serializer.session
    if active_object(session, Project, variable.project_id) is None:
        raise api_error(404)
    if is_mask(request.name, request.raw_value):
        raise api_error(400, {"raw_value": IS_MASK})
    fields: dict[str, Any] = {"name": request.name, "type": request.type}
    # IDs that the type does not use are ignored.
    fields |= {"environment_id": None, "job_definition_id": None}
    if request.type in OWNERS:
        field, kind = OWNERS[request.type]
        fields[field] = owner_id = getattr(request, field)
        owner = active_object(session, kind, owner_id)
        if owner is None or owner.definition["project_id"] != variable.project_id:
            where = f"in project {variable.project_id}"
            raise api_error(400, {field: f"{kind.__name__} {owner_id} does not exist {where}."})
    same = select(EnvironmentVariable).filter_by(project_id=variable.project_id, **fields)
    if other := session.scalar(same.where(EnvironmentVariable.id != variable.id)):
        raise api_error(400, {"name": f"This scope has a value already: update value {other.id}."})
    for field, value in (fields | {"raw_value": request.raw_value}).items():
        setattr(variable, field, value)
    session.add(variable)
    session.commit()
    return envelope(serializer.variable(variable))


def _environments(serializer: SerializerDependency, project_id: int) -> dict[str, int | None]:
    """Return the IDs of a project's environments by name, and None for the project's own scope."""
    if active_object(serializer.session, Project, project_id) is None:
        raise api_error(404)
    environments = active_objects(serializer.session, Environment, project_id)
    return {"project": None} | {
        environment.definition["name"]: environment.id for environment in environments
    }


def _of_project(
    serializer: SerializerDependency, project_id: int, name: str | None = None
) -> list[EnvironmentVariable]:
    """Return the values of a project and its environments, optionally only those of one variable."""
    conditions = [EnvironmentVariable.project_id == project_id, EnvironmentVariable.type != "job"]
    if name is not None:
        conditions.append(EnvironmentVariable.name == name)
    variables = select(EnvironmentVariable).where(*conditions).order_by(EnvironmentVariable.id)
    return list(serializer.session.scalars(variables))


def _store_values(
    serializer: SerializerDependency, project_id: int, name: str, request: Values
) -> JSONResponse:
    """Set or delete values of a variable by environment name or ID; if one is unknown, change nothing."""
    environments, session = _environments(serializer, project_id), serializer.session
    stored = _of_project(serializer, project_id, name)
    by_scope = {variable.environment_id: variable for variable in stored}
    by_id = {str(variable.id): variable for variable in stored}
    created, deleted = [], []
    values = request.__pydantic_extra__
    unknown = {
        key: f"Environment {key} does not exist." for key in values.keys() - environments - by_id.keys()
    }
    masked = {key: IS_MASK for key, value in values.items() if is_mask(name, value)}
    if invalid := unknown | masked:
        raise api_error(400, invalid)
    for key, value in values.items():
        variable = by_id.get(key) or by_scope.get(environments.get(key))
        if not value:
            if variable:
                deleted.append(variable)
            continue
        if variable is None:
            environment_id = environments[key]
            variable = EnvironmentVariable(
                project_id=project_id, name=name, environment_id=environment_id,
                type="environment" if environment_id else "project",
            )  # fmt: skip
            session.add(variable)
            created.append(variable)
        variable.raw_value = value
    for variable in deleted:
        session.delete(variable)
    session.commit()
    return _bulk_response(created, deleted)


def _bulk_response(
    created: Sequence[EnvironmentVariable] = (), deleted: Sequence[EnvironmentVariable] = ()
) -> JSONResponse:
    ids = [[variable.id for variable in variables] for variables in (created, deleted)]
    return envelope({"message": "Saved.", "new_var_ids": ids[0], "deleted_var_ids": ids[1], "failures": {}})

"""Endpoints for environments, which are read-only: account.yaml declares them."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from local_dbt_cloud.account import Environment
from local_dbt_cloud.api.envelope import api_error, envelope, list_envelope
from local_dbt_cloud.api.parameters import PathId, SerializerDependency
from local_dbt_cloud.api.query import EnvironmentQuery

router = APIRouter()
# Only v3 has these paths.
project_router = APIRouter(prefix="/projects/{project_id}")


@router.get("/environments")
async def list_environments(
    request: Request, serializer: SerializerDependency, query: Annotated[EnvironmentQuery, Query()]
) -> JSONResponse:
    """List environments."""
    api = _api_version(request)
    environments = [serializer.environment(entry, api) for entry in serializer.service.config.environments]
    return list_envelope(serializer.service, *query.select(environments), query)


@router.get("/environments/{environment_id}")
async def get_environment(
    request: Request, serializer: SerializerDependency, environment_id: PathId
) -> JSONResponse:
    """Get an environment."""
    environment = _environment(serializer, environment_id)
    return envelope(serializer.environment(environment, _api_version(request)))


@project_router.get("/environments")
async def list_project_environments(
    request: Request,
    serializer: SerializerDependency,
    project_id: PathId,
    query: Annotated[EnvironmentQuery, Query()],
) -> JSONResponse:
    """List the environments of a project."""
    query.project_id = project_id
    return await list_environments(request, serializer, query)


@project_router.get("/environments/{environment_id}")
async def get_project_environment(
    serializer: SerializerDependency, project_id: PathId, environment_id: PathId
) -> JSONResponse:
    """Get an environment of a project."""
    environment = _environment(serializer, environment_id)
    if environment.project_id != project_id:
        raise api_error(404)
    return envelope(serializer.environment(environment, "v3"))


def _api_version(request: Request) -> str:
    return "v3" if request.url.path.startswith("/api/v3/") else "v2"


def _environment(serializer: SerializerDependency, environment_id: int) -> Environment:
    environment = serializer.service.config.environment(environment_id)
    if environment is None:
        raise api_error(404)
    return environment

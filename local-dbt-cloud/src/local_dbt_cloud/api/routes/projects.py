"""Endpoints for accounts, projects and environments, which account.yaml declares and nobody changes."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from local_dbt_cloud.account import Environment
from local_dbt_cloud.api.authentication import Id, SerializerDependency
from local_dbt_cloud.api.envelope import envelope, page, refusal
from local_dbt_cloud.api.query import EnvironmentQuery, ListQuery, ProjectQuery

accounts_router = APIRouter()
router = APIRouter()
v3_router = APIRouter()


def _api(request: Request) -> str:
    return "v3" if request.url.path.startswith("/api/v3/") else "v2"


@accounts_router.get("")
async def list_accounts(serializer: SerializerDependency) -> JSONResponse:
    """List the accounts of the token: there is one."""
    return page(serializer.service, [serializer.account()], 1, ListQuery())


@router.get("")
async def get_account(serializer: SerializerDependency) -> JSONResponse:
    """Get the account."""
    return envelope(serializer.account())


@router.get("/projects")
async def list_projects(
    serializer: SerializerDependency, query: Annotated[ProjectQuery, Query()]
) -> JSONResponse:
    """List projects."""
    projects = serializer.service.declaration.projects
    return page(serializer.service, *query.select([serializer.project(one) for one in projects]), query)


@router.get("/projects/{project_id}")
async def get_project(serializer: SerializerDependency, project_id: Id) -> JSONResponse:
    """Get a project."""
    project = serializer.service.declaration.project(project_id)
    if project is None:
        raise refusal(404)
    return envelope(serializer.project(project))


@router.get("/environments")
async def list_environments(
    request: Request, serializer: SerializerDependency, query: Annotated[EnvironmentQuery, Query()]
) -> JSONResponse:
    """List environments."""
    environments = serializer.service.declaration.environments
    written = [serializer.environment(one, _api(request)) for one in environments]
    return page(serializer.service, *query.select(written), query)


@router.get("/environments/{environment_id}")
async def get_environment(
    request: Request, serializer: SerializerDependency, environment_id: Id
) -> JSONResponse:
    """Get an environment."""
    return envelope(serializer.environment(_environment(serializer, environment_id), _api(request)))


@v3_router.get("/projects/{project_id}/environments")
async def list_environments_of_project(
    request: Request,
    serializer: SerializerDependency,
    project_id: Id,
    query: Annotated[EnvironmentQuery, Query()],
) -> JSONResponse:
    """List the environments of a project."""
    query.project_id = project_id
    return await list_environments(request, serializer, query)


@v3_router.get("/projects/{project_id}/environments/{environment_id}")
async def get_environment_of_project(
    serializer: SerializerDependency, project_id: Id, environment_id: Id
) -> JSONResponse:
    """Get an environment of a project."""
    environment = _environment(serializer, environment_id)
    if environment.project_id != project_id:
        raise refusal(404)
    return envelope(serializer.environment(environment, "v3"))


def _environment(serializer: SerializerDependency, environment_id: int) -> Environment:
    environment = serializer.service.declaration.environment(environment_id)
    if environment is None:
        raise refusal(404)
    return environment

"""Endpoints for accounts, projects and environments, which account.yaml declares and nobody changes."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from include.local_dbt_cloud.account import Environment
from include.local_dbt_cloud.api.access import Id, TheWriter
from include.local_dbt_cloud.api.envelope import envelope, page, refusal
from include.local_dbt_cloud.api.query import EnvironmentQuery, ListQuery, ProjectQuery

accounts_router = APIRouter()
router = APIRouter()
v3_router = APIRouter()


def _api(request: Request) -> str:
    return "v3" if request.url.path.startswith("/api/v3/") else "v2"


@accounts_router.get("")
async def list_accounts(writer: TheWriter) -> JSONResponse:
    """List the accounts of the token: there is one."""
    return page(writer.service, [writer.account()], 1, ListQuery())


@router.get("")
async def get_account(writer: TheWriter) -> JSONResponse:
    """Get the account."""
    return envelope(writer.account())


@router.get("/projects")
async def list_projects(writer: TheWriter, query: Annotated[ProjectQuery, Query()]) -> JSONResponse:
    """List projects."""
    projects = writer.service.declaration.projects
    return page(writer.service, *query.select([writer.project(one) for one in projects]), query)


@router.get("/projects/{project_id}")
async def get_project(writer: TheWriter, project_id: Id) -> JSONResponse:
    """Get a project."""
    project = writer.service.declaration.project(project_id)
    if project is None:
        raise refusal(404)
    return envelope(writer.project(project))


@router.get("/environments")
async def list_environments(
    request: Request, writer: TheWriter, query: Annotated[EnvironmentQuery, Query()]
) -> JSONResponse:
    """List environments."""
    environments = writer.service.declaration.environments
    written = [writer.environment(one, _api(request)) for one in environments]
    return page(writer.service, *query.select(written), query)


@router.get("/environments/{environment_id}")
async def get_environment(request: Request, writer: TheWriter, environment_id: Id) -> JSONResponse:
    """Get an environment."""
    return envelope(writer.environment(_environment(writer, environment_id), _api(request)))


@v3_router.get("/projects/{project_id}/environments")
async def list_environments_of_project(
    request: Request, writer: TheWriter, project_id: Id, query: Annotated[EnvironmentQuery, Query()]
) -> JSONResponse:
    """List the environments of a project."""
    query.project_id = project_id
    return await list_environments(request, writer, query)


@v3_router.get("/projects/{project_id}/environments/{environment_id}")
async def get_environment_of_project(writer: TheWriter, project_id: Id, environment_id: Id) -> JSONResponse:
    """Get an environment of a project."""
    environment = _environment(writer, environment_id)
    if environment.project_id != project_id:
        raise refusal(404)
    return envelope(writer.environment(environment, "v3"))


def _environment(writer: TheWriter, environment_id: int) -> Environment:
    environment = writer.service.declaration.environment(environment_id)
    if environment is None:
        raise refusal(404)
    return environment

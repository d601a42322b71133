"""Endpoints for accounts, projects and environments."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from include.local_dbt_cloud.api import objects
from include.local_dbt_cloud.api.access import Id, TheService
from include.local_dbt_cloud.api.envelope import envelope, envelope_or_404, page, refusal
from include.local_dbt_cloud.api.query import Named

accounts_router = APIRouter()
router = APIRouter()
v3_router = APIRouter()


@accounts_router.get("")
async def list_accounts(service: TheService) -> JSONResponse:
    """List the accounts of the token: there is one."""
    return page([objects.account_object(service)], 1, {"limit": 100, "offset": 0}, "id")


@router.get("")
async def get_account(service: TheService) -> JSONResponse:
    """Get the account."""
    return envelope(objects.account_object(service))


@router.get("/projects")
async def list_projects(service: TheService, query: Named) -> JSONResponse:
    """List the projects."""
    return query.page(
        service,
        [objects.project_object(service, project) for project in service.declaration.projects],
    )


@router.get("/projects/{project_id}")
async def get_project(service: TheService, project_id: Id) -> JSONResponse:
    """Get a project."""
    return envelope_or_404(service, objects.project_object, service.declaration.project(project_id))


@router.get("/environments")
async def list_environments(service: TheService, query: Named) -> JSONResponse:
    """List the environments of all projects."""
    return query.page(
        service,
        [objects.environment_object(service, one) for one in service.declaration.environments],
    )


@router.get("/environments/{environment_id}")
async def get_environment(service: TheService, environment_id: Id) -> JSONResponse:
    """Get an environment."""
    return envelope_or_404(
        service, objects.environment_object, service.declaration.environment(environment_id)
    )


@v3_router.get("/projects/{project_id}/environments")
async def list_environments_of_project(service: TheService, project_id: Id, query: Named) -> JSONResponse:
    """List the environments of a project."""
    query.project_id = project_id
    return await list_environments(service, query)


@v3_router.get("/projects/{project_id}/environments/{environment_id}")
async def get_environment_of_project(service: TheService, project_id: Id, environment_id: Id) -> JSONResponse:
    """Get an environment of a project."""
    environment = service.declaration.environment(environment_id)
    if environment is None or environment.project_id != project_id:
        raise refusal(404)
    return envelope(objects.environment_object(service, environment))

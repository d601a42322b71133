"""Endpoints for projects, which are read-only: account.yaml declares them."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from local_dbt_cloud.api.envelope import api_error, envelope, list_envelope
from local_dbt_cloud.api.parameters import PathId, SerializerDependency
from local_dbt_cloud.api.query import ProjectQuery

router = APIRouter()


@router.get("/projects")
async def list_projects(
    serializer: SerializerDependency, query: Annotated[ProjectQuery, Query()]
) -> JSONResponse:
    """List projects."""
    projects = [serializer.project(project) for project in serializer.service.config.projects]
    return list_envelope(serializer.service, *query.select(projects), query)


@router.get("/projects/{project_id}")
async def get_project(serializer: SerializerDependency, project_id: PathId) -> JSONResponse:
    """Get a project."""
    project = serializer.service.config.project(project_id)
    if project is None:
        raise api_error(404)
    return envelope(serializer.project(project))

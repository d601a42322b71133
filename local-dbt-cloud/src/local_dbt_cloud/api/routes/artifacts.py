"""Endpoints for the artifacts of runs."""

from typing import Annotated

from fastapi import Query
from fastapi.responses import FileResponse, JSONResponse
from sqlalchemy import select
from sqlalchemy.orm import selectinload

from local_dbt_cloud.api.authentication import account_router
from local_dbt_cloud.api.envelope import api_error, envelope
from local_dbt_cloud.api.parameters import JobDependency, RunDependency, SerializerDependency
from local_dbt_cloud.api.query import Integer, RunQuery
from local_dbt_cloud.database import Run
from local_dbt_cloud.dependencies import ServiceDependency
from local_dbt_cloud.run_status import ACTIVE_STATUSES

router = account_router()

# Number of newest runs of a job that are searched for its latest artifact.
MAX_RUNS_SEARCHED = 100


@router.get("/runs/{run_id}/artifacts")
async def list_artifacts(
    service: ServiceDependency, run: RunDependency, step: Integer | None = None
) -> JSONResponse:
    """List the paths of a step's artifacts, by default those of the last step."""
    index = _step_with_artifacts(run, step)
    if index is not None:
        return envelope(service.data.artifact_paths(run.id, index))
    # A run that was canceled in the queue has no steps. Clients that read the artifacts of all finished runs
    # would fail on a 404.
    if step is None and run.status not in ACTIVE_STATUSES:
        return envelope([])
    raise api_error(404)


@router.get("/runs/{run_id}/artifacts/{path:path}")
async def get_artifact(
    service: ServiceDependency, run: RunDependency, path: str, step: Integer | None = None
) -> FileResponse:
    """Get an artifact as dbt wrote it, without an envelope."""
    index = _step_with_artifacts(run, step)
    file = index and service.data.artifact(run.id, index, path)
    if not file:
        raise api_error(404)
    return FileResponse(file)


@router.get("/jobs/{job_id}/artifacts/{path:path}")
async def get_job_artifact(
    serializer: SerializerDependency, job: JobDependency, path: str, query: Annotated[RunQuery, Query()]
) -> FileResponse:
    """Get the latest artifact with this path among the finished runs of a job that match the query."""
    conditions = [Run.job_definition_id == job.id, Run.status.not_in(ACTIVE_STATUSES)]
    newest_first = select(Run).where(*conditions, *query.conditions()).order_by(Run.id.desc())
    for run in serializer.session.scalars(
        newest_first.limit(MAX_RUNS_SEARCHED).options(selectinload(Run.run_steps))
    ):
        index = _step_with_artifacts(run)
        if index and (file := serializer.service.data.artifact(run.id, index, path)):
            return FileResponse(file)
    raise api_error(404)


def _step_with_artifacts(run: Run, step: int | None = None) -> int | None:
    """Return the index of the requested step, by default of the last one.

    None if the step does not exist or the run is active: dbt Cloud serves artifacts "once a run has
    completed".
    """
    indexes = [run_step.index for run_step in run.run_steps]
    if run.status in ACTIVE_STATUSES or not indexes or (step is not None and step not in indexes):
        return None
    return step or indexes[-1]

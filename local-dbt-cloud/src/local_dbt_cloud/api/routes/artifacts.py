"""Endpoints for what dbt wrote in a run."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse, JSONResponse
from sqlalchemy import select
from sqlalchemy.orm import selectinload

from local_dbt_cloud.api.authentication import JobDependency, RunDependency, SerializerDependency
from local_dbt_cloud.api.envelope import envelope, refusal
from local_dbt_cloud.api.query import Integer, RunQuery
from local_dbt_cloud.database import ACTIVE, Run
from local_dbt_cloud.dependencies import ServiceDependency

router = APIRouter()

# Of a job's artifacts the latest is looked for in so many of its newest runs.
RUNS_SEARCHED = 100


@router.get("/runs/{run_id}/artifacts")
async def list_artifacts(
    service: ServiceDependency, run: RunDependency, step: Integer | None = None
) -> JSONResponse:
    """List the paths of a step's artifacts, by default those of the last step."""
    index = step_with_artifacts(run, step)
    if index is not None:
        return envelope(service.data.artifact_paths(run.id, index))
    # A run that ended in the queue has no steps, and so no artifacts. A 404 ends clients that look into every
    # finished run.
    if step is None and run.status not in ACTIVE:
        return envelope([])
    raise refusal(404)


@router.get("/runs/{run_id}/artifacts/{path:path}")
async def get_artifact(
    service: ServiceDependency, run: RunDependency, path: str, step: Integer | None = None
) -> FileResponse:
    """Get an artifact as dbt wrote it, without an envelope."""
    index = step_with_artifacts(run, step)
    file = index and service.data.artifact(run.id, index, path)
    if not file:
        raise refusal(404)
    return FileResponse(file)


@router.get("/jobs/{job_id}/artifacts/{path:path}")
async def get_artifact_of_job(
    serializer: SerializerDependency, job: JobDependency, path: str, query: Annotated[RunQuery, Query()]
) -> FileResponse:
    """Get the latest artifact of this path that a run of the job wrote; the query selects the runs."""
    conditions = [Run.job_definition_id == job.id, Run.status.not_in(ACTIVE)]
    newest_first = select(Run).where(*conditions, *query.conditions()).order_by(Run.id.desc())
    for run in serializer.session.scalars(
        newest_first.limit(RUNS_SEARCHED).options(selectinload(Run.run_steps))
    ):
        index = step_with_artifacts(run)
        if index and (file := serializer.service.data.artifact(run.id, index, path)):
            return FileResponse(file)
    raise refusal(404)


def step_with_artifacts(run: Run, step: int | None = None) -> int | None:
    """Return the index of the step to take artifacts from, the last one unless another is named.

    None if there is no such step, or the run is active: "once a run has completed", says dbt Cloud.
    """
    indexes = [entry.index for entry in run.run_steps]
    if run.status in ACTIVE or not indexes or (step is not None and step not in indexes):
        return None
    return step or indexes[-1]

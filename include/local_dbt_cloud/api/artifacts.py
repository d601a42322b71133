"""Endpoints for what dbt wrote in a run."""

from fastapi import APIRouter
from fastapi.responses import FileResponse, JSONResponse

from include.local_dbt_cloud.api.access import Id, TheService, run_or_404
from include.local_dbt_cloud.api.envelope import envelope, refusal
from include.local_dbt_cloud.service import Service
from include.local_dbt_cloud.store import ACTIVE

router = APIRouter()


@router.get("/runs/{run_id}/artifacts")
async def list_artifacts(service: TheService, run_id: Id, step: int | None = None) -> JSONResponse:
    """List the paths of a step's artifacts."""
    return envelope(service.data.artifact_paths(run_id, _step_with_artifacts(service, run_id, step)))


@router.get("/runs/{run_id}/artifacts/{path:path}")
async def get_artifact(service: TheService, run_id: Id, path: str, step: int | None = None) -> FileResponse:
    """Get an artifact as dbt wrote it, without an envelope."""
    file = service.data.artifact(run_id, _step_with_artifacts(service, run_id, step), path)
    if file is None:
        raise refusal(404)
    return FileResponse(file)


def _step_with_artifacts(service: Service, run_id: int, step: int | None) -> int:
    """Only completed runs have artifacts; of the last step unless another is named, says dbt Cloud."""
    with service.sessions() as session:
        run = run_or_404(session, run_id)
        indexes = [entry.index for entry in run.run_steps]
    if run.status in ACTIVE or not indexes or (step is not None and step not in indexes):
        raise refusal(404)
    return step or indexes[-1]

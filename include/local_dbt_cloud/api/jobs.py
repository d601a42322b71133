"""Endpoints for jobs."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from include.local_dbt_cloud.api import objects
from include.local_dbt_cloud.api.access import Id, TheService
from include.local_dbt_cloud.api.envelope import envelope, envelope_or_404, refusal
from include.local_dbt_cloud.api.query import Named
from include.local_dbt_cloud.store import Run
from include.local_dbt_cloud.trigger import TriggerRequest

router = APIRouter()


@router.get("/jobs")
async def list_jobs(service: TheService, query: Named) -> JSONResponse:
    """List the jobs."""
    return query.page(
        service,
        [objects.job_object(service, job) for job in service.declaration.jobs],
        state="active",
    )


@router.get("/jobs/{job_id}")
async def get_job(service: TheService, job_id: Id) -> JSONResponse:
    """Get a job."""
    return envelope_or_404(service, objects.job_object, service.declaration.job(job_id))


@router.post("/jobs/{job_id}/run")
async def trigger_run(service: TheService, job_id: Id, request: TriggerRequest) -> JSONResponse:
    """Trigger a run of a job; it is queued while another run of the job is active."""
    job = service.declaration.job(job_id)
    if job is None:
        raise refusal(404)
    run_id = service.scheduler.trigger(job, request)
    with service.sessions() as session:
        return envelope(
            objects.run_object(service, session, session.get_one(Run, run_id), {"trigger", "job"})
        )

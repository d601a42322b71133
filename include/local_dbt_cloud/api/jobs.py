"""Endpoints for jobs."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from sqlalchemy import select

from include.local_dbt_cloud.api.access import TheJob, TheWriter
from include.local_dbt_cloud.api.envelope import envelope, page, refusal
from include.local_dbt_cloud.api.objects import Writer
from include.local_dbt_cloud.api.query import JobQuery
from include.local_dbt_cloud.api.runs import triggered
from include.local_dbt_cloud.dependencies import TheService
from include.local_dbt_cloud.job import JobDefinition
from include.local_dbt_cloud.jobs import DELETED, Misplaced, placed
from include.local_dbt_cloud.plan import newest_run_id
from include.local_dbt_cloud.store import ACTIVE, Job, Run
from include.local_dbt_cloud.trigger import TriggerRequest

router = APIRouter()


@router.get("/jobs")
async def list_jobs(writer: TheWriter, query: Annotated[JobQuery, Query()]) -> JSONResponse:
    """List jobs."""
    jobs = {job.id: job for job in writer.session.scalars(select(Job))}
    plain = Writer(writer.service, writer.session)
    chosen, total = query.select([plain.job(job) for job in jobs.values()])
    return page(writer.service, [writer.job(jobs[job["id"]]) for job in chosen], total, query)


@router.post("/jobs")
async def create_job(writer: TheWriter, body: Annotated[dict[str, Any], Body()]) -> JSONResponse:
    """Create a job."""
    job = Job(definition=_definition(writer, body))
    writer.session.add(job)
    writer.session.commit()
    return envelope(writer.job(job))


@router.get("/jobs/{job_id}")
async def get_job(writer: TheWriter, job: TheJob) -> JSONResponse:
    """Get a job."""
    return envelope(writer.job(job))


@router.post("/jobs/{job_id}")
async def update_job(
    service: TheService, writer: TheWriter, job: TheJob, body: Annotated[dict[str, Any], Body()]
) -> JSONResponse:
    """Change the fields of a job that the body names, or delete it if its state is to be 2."""
    if body.get("id") != job.id:
        raise refusal(400, {"id": "The provided id does not match."})
    # As terraform does, which has no other word for it.
    if body.get("state") == DELETED:
        return await delete_job(service, writer, job)
    job.definition = _definition(writer, _merged(job.definition, body))
    writer.session.commit()
    return envelope(writer.job(job))


@router.delete("/jobs/{job_id}")
async def delete_job(service: TheService, writer: TheWriter, job: TheJob) -> JSONResponse:
    """Delete a job, and cancel its active runs, as dbt Cloud does."""
    job.state = DELETED
    writer.session.commit()
    active = select(Run.id).where(Run.job_definition_id == job.id, Run.status.in_(ACTIVE))
    for run_id in writer.session.scalars(active).all():
        await service.scheduler.cancel(run_id)
    return envelope(writer.job(job))


@router.post("/jobs/{job_id}/run")
async def trigger_run(
    service: TheService, writer: TheWriter, job: TheJob, request: TriggerRequest
) -> JSONResponse:
    """Trigger a run of a job; it is queued while another run of the job is active."""
    return triggered(writer, service.scheduler.trigger(job.id, request))


@router.post("/jobs/{job_id}/rerun")
async def rerun_job(service: TheService, writer: TheWriter, job: TheJob) -> JSONResponse:
    """Go on from where the job's newest run failed, or trigger a new run."""
    newest = writer.session.get(Run, newest_run_id(writer.session, job.id) or 0)
    if newest and writer.retry_refusal(newest) is None:
        return triggered(writer, service.scheduler.retry(newest.id))
    request = TriggerRequest(cause=f"Rerun of job {job.id}")
    return triggered(writer, service.scheduler.trigger(job.id, request, cause_category="rerun"))


def _merged(stored: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    def both(old: Any, new: Any) -> Any:
        return old | new if isinstance(old, dict) and isinstance(new, dict) else new

    return stored | {field: both(stored.get(field), value) for field, value in given.items()}


def _definition(writer: TheWriter, body: dict[str, Any]) -> dict[str, Any]:
    try:
        return placed(writer.service.declaration, JobDefinition.model_validate(body))
    except ValidationError as error:
        wrong = [{**one, "loc": ("body", *one["loc"])} for one in error.errors()]
        raise RequestValidationError(wrong) from error
    except Misplaced as error:
        raise refusal(400, {error.field: str(error)}) from error

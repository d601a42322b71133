"""Endpoints for jobs."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from sqlalchemy import select

from local_dbt_cloud.api.authentication import JobDependency, SerializerDependency
from local_dbt_cloud.api.envelope import envelope, page, refusal
from local_dbt_cloud.api.query import JobQuery
from local_dbt_cloud.api.routes.runs import triggered
from local_dbt_cloud.api.serializers import Serializer
from local_dbt_cloud.database import ACTIVE, Job, Run
from local_dbt_cloud.dependencies import ServiceDependency
from local_dbt_cloud.job_definition import JobDefinition
from local_dbt_cloud.job_store import DELETED, UnknownLocation, placed
from local_dbt_cloud.run_plan import newest_run_id
from local_dbt_cloud.trigger_request import TriggerRequest

router = APIRouter()


@router.get("/jobs")
async def list_jobs(serializer: SerializerDependency, query: Annotated[JobQuery, Query()]) -> JSONResponse:
    """List jobs."""
    jobs = {job.id: job for job in serializer.session.scalars(select(Job))}
    plain = Serializer(serializer.service, serializer.session)
    chosen, total = query.select([plain.job(job) for job in jobs.values()])
    return page(serializer.service, [serializer.job(jobs[job["id"]]) for job in chosen], total, query)


@router.post("/jobs")
async def create_job(
    serializer: SerializerDependency, body: Annotated[dict[str, Any], Body()]
) -> JSONResponse:
    """Create a job."""
    job = Job(definition=_definition(serializer, body))
    serializer.session.add(job)
    serializer.session.commit()
    return envelope(serializer.job(job))


@router.get("/jobs/{job_id}")
async def get_job(serializer: SerializerDependency, job: JobDependency) -> JSONResponse:
    """Get a job."""
    return envelope(serializer.job(job))


@router.post("/jobs/{job_id}")
async def update_job(
    service: ServiceDependency,
    serializer: SerializerDependency,
    job: JobDependency,
    body: Annotated[dict[str, Any], Body()],
) -> JSONResponse:
    """Change the fields of a job that the body names, or delete it if its state is to be 2."""
    if body.get("id") != job.id:
        raise refusal(400, {"id": "The provided id does not match."})
    # As terraform does, which has no other word for it.
    if body.get("state") == DELETED:
        return await delete_job(service, serializer, job)
    job.definition = _definition(serializer, _merged(job.definition, body))
    serializer.session.commit()
    return envelope(serializer.job(job))


@router.delete("/jobs/{job_id}")
async def delete_job(
    service: ServiceDependency, serializer: SerializerDependency, job: JobDependency
) -> JSONResponse:
    """Delete a job, and cancel its active runs, as dbt Cloud does."""
    job.state = DELETED
    serializer.session.commit()
    active = select(Run.id).where(Run.job_definition_id == job.id, Run.status.in_(ACTIVE))
    for run_id in serializer.session.scalars(active).all():
        await service.scheduler.cancel(run_id)
    return envelope(serializer.job(job))


@router.post("/jobs/{job_id}/run")
async def trigger_run(
    service: ServiceDependency, serializer: SerializerDependency, job: JobDependency, request: TriggerRequest
) -> JSONResponse:
    """Trigger a run of a job; it is queued while another run of the job is active."""
    return triggered(serializer, service.scheduler.trigger(job.id, request))


@router.post("/jobs/{job_id}/rerun")
async def rerun_job(
    service: ServiceDependency, serializer: SerializerDependency, job: JobDependency
) -> JSONResponse:
    """Go on from where the job's newest run failed, or trigger a new run."""
    newest = serializer.session.get(Run, newest_run_id(serializer.session, job.id) or 0)
    if newest and serializer.retry_refusal(newest) is None:
        return triggered(serializer, service.scheduler.retry(newest.id))
    request = TriggerRequest(cause=f"Rerun of job {job.id}")
    return triggered(serializer, service.scheduler.trigger(job.id, request, cause_category="rerun"))


def _merged(stored: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    def both(old: Any, new: Any) -> Any:
        return old | new if isinstance(old, dict) and isinstance(new, dict) else new

    return stored | {field: both(stored.get(field), value) for field, value in given.items()}


def _definition(serializer: SerializerDependency, body: dict[str, Any]) -> dict[str, Any]:
    try:
        return placed(serializer.service.declaration, JobDefinition.model_validate(body))
    except ValidationError as error:
        wrong = [{**one, "loc": ("body", *one["loc"])} for one in error.errors()]
        raise RequestValidationError(wrong) from error
    except UnknownLocation as error:
        raise refusal(400, {error.field: str(error)}) from error

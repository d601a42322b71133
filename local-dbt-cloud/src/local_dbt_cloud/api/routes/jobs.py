"""Endpoints for jobs."""

from typing import Annotated, Any

from fastapi import Body, Query
from fastapi.responses import JSONResponse
from sqlalchemy import select

from local_dbt_cloud.api.authentication import account_router
from local_dbt_cloud.api.bodies import merged, validated
from local_dbt_cloud.api.envelope import api_error, envelope, list_envelope
from local_dbt_cloud.api.parameters import JobDependency, SerializerDependency
from local_dbt_cloud.api.query import JobQuery
from local_dbt_cloud.api.routes.provisioning import delete_and_cancel
from local_dbt_cloud.api.routes.runs import new_run_response
from local_dbt_cloud.api.serializers import Serializer
from local_dbt_cloud.database import Job, JobState, Run
from local_dbt_cloud.dependencies import ServiceDependency
from local_dbt_cloud.job_definition import JobDefinition
from local_dbt_cloud.job_store import InvalidReference, resolve_references
from local_dbt_cloud.run_plan import newest_run_id
from local_dbt_cloud.trigger_request import TriggerRequest

router = account_router()


@router.get("/jobs")
async def list_jobs(serializer: SerializerDependency, query: Annotated[JobQuery, Query()]) -> JSONResponse:
    """List jobs."""
    jobs = {job.id: job for job in serializer.session.scalars(select(Job))}
    # Related objects are serialized only for the jobs of the page.
    without_related = Serializer(serializer.service, serializer.session)
    page, total = query.select([without_related.job(job) for job in jobs.values()])
    items = [serializer.job(jobs[item["id"]]) for item in page]
    return list_envelope(serializer.service, items, total, query)


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
    serializer: SerializerDependency, job: JobDependency, body: Annotated[dict[str, Any], Body()]
) -> JSONResponse:
    """Update the fields of a job that the body contains; ``state`` 2 deletes it."""
    if body.get("id") != job.id:
        raise api_error(400, {"id": "The provided id does not match."})
    # The Terraform provider deletes jobs this way.
    if body.get("state") == JobState.DELETED:
        return await delete_job(serializer, job)
    stored = job.definition
    # Each of the two fields is derived from the other: discard the stored value of the omitted one.
    if body.get("cost_optimization_features") is not None:
        stored = stored | {"force_node_selection": None}
    elif body.get("force_node_selection") is not None:
        stored = stored | {"cost_optimization_features": []}
    # The stored date would override a new cron expression.
    if isinstance(schedule := body.get("schedule"), dict) and schedule.get("cron"):
        body = body | {"schedule": {"date": None} | schedule}
    job.definition = _definition(serializer, merged(stored, body), job.id)
    serializer.session.commit()
    return envelope(serializer.job(job))


@router.delete("/jobs/{job_id}")
async def delete_job(serializer: SerializerDependency, job: JobDependency) -> JSONResponse:
    """Delete a job and cancel its active runs."""
    await delete_and_cancel(serializer, job)
    return envelope(serializer.job(job))


@router.post("/jobs/{job_id}/run")
async def trigger_run(
    service: ServiceDependency, serializer: SerializerDependency, job: JobDependency, request: TriggerRequest
) -> JSONResponse:
    """Trigger a run of a job."""
    return new_run_response(serializer, service.scheduler.trigger(job.id, request))


@router.post("/jobs/{job_id}/rerun")
async def rerun_job(
    service: ServiceDependency, serializer: SerializerDependency, job: JobDependency
) -> JSONResponse:
    """Retry the newest run of a job from the point of failure if possible; otherwise trigger a new run."""
    newest = serializer.session.get(Run, newest_run_id(serializer.session, job.id) or 0)
    if newest and serializer.retry_not_supported_reason(newest) is None:
        return new_run_response(serializer, service.scheduler.retry(newest.id))
    request = TriggerRequest(cause=f"Rerun of job {job.id}")
    return new_run_response(serializer, service.scheduler.trigger(job.id, request, cause_category="rerun"))


def _definition(
    serializer: SerializerDependency, body: dict[str, Any], job_id: int | None = None
) -> dict[str, Any]:
    """Return a valid definition from a request body, or raise the exception for a response with 400."""
    definition = validated(JobDefinition, body)
    try:
        account_id = serializer.service.config.account.id
        return resolve_references(serializer.session, account_id, definition, job_id)
    except InvalidReference as error:
        raise api_error(400, {error.field: str(error)}) from error

"""Endpoints for runs and their steps."""

from typing import Annotated

from fastapi import Query
from fastapi.responses import JSONResponse
from sqlalchemy import func, select
from sqlalchemy.orm import selectinload

from local_dbt_cloud.api.authentication import account_router
from local_dbt_cloud.api.envelope import api_error, envelope, list_envelope
from local_dbt_cloud.api.parameters import PathId, RunDependency, SerializerDependency
from local_dbt_cloud.api.query import RunQuery
from local_dbt_cloud.api.serializers import Serializer
from local_dbt_cloud.database import Run, RunStep
from local_dbt_cloud.dependencies import ServiceDependency
from local_dbt_cloud.run_plan import failed_and_skipped_steps

router = account_router()


@router.get("/runs")
async def list_runs(serializer: SerializerDependency, query: Annotated[RunQuery, Query()]) -> JSONResponse:
    """List runs."""
    conditions = query.conditions()
    total = serializer.session.scalar(select(func.count()).select_from(Run).where(*conditions)) or 0
    count = max(min(query.limit, total - query.offset), 0)
    # SQLite scans up to the offset, so take a page in the second half of the history from the end.
    offset_from_end = total - query.offset - count
    offset, reverse = min((query.offset, False), (offset_from_end, True))
    # Select the IDs first, for which an index suffices: sorting whole rows takes ten times as long.
    ids = select(Run.id).where(*conditions).order_by(*query.ordering(reverse)).limit(count).offset(offset)
    page = select(Run).where(Run.id.in_(ids)).order_by(*query.ordering())
    if "run_steps" in serializer.related:
        page = page.options(selectinload(Run.run_steps))
    items = [serializer.run(run) for run in serializer.session.scalars(page)]
    return list_envelope(serializer.service, items, total, query)


@router.get("/runs/{run_id}")
async def get_run(serializer: SerializerDependency, run: RunDependency) -> JSONResponse:
    """Get a run."""
    return envelope(serializer.run(run))


@router.post("/runs/{run_id}/cancel")
async def cancel_run(
    service: ServiceDependency, serializer: SerializerDependency, run: RunDependency
) -> JSONResponse:
    """Cancel a run and wait until its dbt has stopped. A finished run is not changed."""
    await service.scheduler.cancel(run.id)
    serializer.session.expire_all()
    return envelope(serializer.run(run))


@router.get("/runs/{run_id}/retry")
async def get_run_failure_details(serializer: SerializerDependency, run: RunDependency) -> JSONResponse:
    """Get the failed step of a run and the steps after it."""
    _check_retry(serializer, run)
    failed, skipped = failed_and_skipped_steps(run)
    return envelope(
        {"failed_step": failed and failed.command, "skipped_steps": [step.command for step in skipped]}
    )


@router.post("/runs/{run_id}/retry")
async def retry_run(
    service: ServiceDependency, serializer: SerializerDependency, run: RunDependency
) -> JSONResponse:
    """Queue a run that retries a failed run from the point of failure."""
    _check_retry(serializer, run)
    return new_run_response(serializer, service.scheduler.retry(run.id))


@router.get("/steps/{step_id}")
async def get_step(serializer: SerializerDependency, step_id: PathId) -> JSONResponse:
    """Get a step of a run."""
    step = serializer.session.get(RunStep, step_id)
    if step is None:
        raise api_error(404)
    return envelope(serializer.step(step))


def new_run_response(serializer: SerializerDependency, run_id: int) -> JSONResponse:
    """Return a response with a new run. As in dbt Cloud, it always includes the trigger and the job."""
    with_related = Serializer(serializer.service, serializer.session, {"trigger", "job"})
    return envelope(with_related.run(serializer.session.get_one(Run, run_id)))


def _check_retry(serializer: SerializerDependency, run: Run) -> None:
    if reason := serializer.retry_not_supported_reason(run):
        raise api_error(400, {"retry_not_supported_reason": reason})

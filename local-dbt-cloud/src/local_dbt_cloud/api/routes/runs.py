"""Endpoints for runs and their steps."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from sqlalchemy import func, select
from sqlalchemy.orm import selectinload

from local_dbt_cloud.api.authentication import Id, RunDependency, SerializerDependency
from local_dbt_cloud.api.envelope import envelope, page, refusal
from local_dbt_cloud.api.query import RunQuery
from local_dbt_cloud.api.serializers import Serializer
from local_dbt_cloud.database import Run, RunStep
from local_dbt_cloud.dependencies import ServiceDependency
from local_dbt_cloud.run_plan import failed_and_skipped

router = APIRouter()


@router.get("/runs")
async def list_runs(serializer: SerializerDependency, query: Annotated[RunQuery, Query()]) -> JSONResponse:
    """List runs."""
    conditions = query.conditions()
    total = serializer.session.scalar(select(func.count()).select_from(Run).where(*conditions)) or 0
    count = max(min(query.limit, total - query.offset), 0)
    # The second half of a long history is counted from its end.
    from_end = total - query.offset - count
    offset, backwards = min((query.offset, False), (from_end, True))
    # First the ids, which an index gives: to sort whole runs takes ten times as long.
    ids = select(Run.id).where(*conditions).order_by(*query.ordering(backwards)).limit(count).offset(offset)
    chosen = select(Run).where(Run.id.in_(ids)).order_by(*query.ordering())
    if "run_steps" in serializer.related:
        chosen = chosen.options(selectinload(Run.run_steps))
    return page(
        serializer.service, [serializer.run(run) for run in serializer.session.scalars(chosen)], total, query
    )


@router.get("/runs/{run_id}")
async def get_run(serializer: SerializerDependency, run: RunDependency) -> JSONResponse:
    """Get a run."""
    return envelope(serializer.run(run))


@router.post("/runs/{run_id}/cancel")
async def cancel_run(
    service: ServiceDependency, serializer: SerializerDependency, run: RunDependency
) -> JSONResponse:
    """Cancel a run and wait until its dbt has stopped; a run that has finished stays as it is."""
    await service.scheduler.cancel(run.id)
    serializer.session.expire_all()
    return envelope(serializer.run(run))


@router.get("/runs/{run_id}/retry")
async def get_run_failure_details(serializer: SerializerDependency, run: RunDependency) -> JSONResponse:
    """Say at which step a failed run ended, and which steps it never reached."""
    _refuse_retry(serializer.retry_refusal(run))
    failed, skipped = failed_and_skipped(run)
    return envelope(
        {"failed_step": failed and failed.command, "skipped_steps": [step.command for step in skipped]}
    )


@router.post("/runs/{run_id}/retry")
async def retry_run(
    service: ServiceDependency, serializer: SerializerDependency, run: RunDependency
) -> JSONResponse:
    """Queue a new run that goes on from where a failed run ended."""
    _refuse_retry(serializer.retry_refusal(run))
    return triggered(serializer, service.scheduler.retry(run.id))


@router.get("/steps/{step_id}")
async def get_step(serializer: SerializerDependency, step_id: Id) -> JSONResponse:
    """Get a step of a run."""
    step = serializer.session.get(RunStep, step_id)
    if step is None:
        raise refusal(404)
    return envelope(serializer.step(step))


def triggered(serializer: SerializerDependency, run_id: int) -> JSONResponse:
    """Answer with a new run; unasked, its trigger and job are written in full."""
    in_full = Serializer(serializer.service, serializer.session, {"trigger", "job"})
    return envelope(in_full.run(serializer.session.get_one(Run, run_id)))


def _refuse_retry(reason: str | None) -> None:
    if reason:
        raise refusal(400, {"retry_not_supported_reason": reason})

"""Endpoints for runs and their steps."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from sqlalchemy import func, select
from sqlalchemy.orm import selectinload

from include.local_dbt_cloud.api.access import Id, TheRun, TheWriter
from include.local_dbt_cloud.api.envelope import envelope, page, refusal
from include.local_dbt_cloud.api.objects import Writer
from include.local_dbt_cloud.api.query import RunQuery
from include.local_dbt_cloud.dependencies import TheService
from include.local_dbt_cloud.plan import failed_and_skipped
from include.local_dbt_cloud.store import Run, RunStep

router = APIRouter()


@router.get("/runs")
async def list_runs(writer: TheWriter, query: Annotated[RunQuery, Query()]) -> JSONResponse:
    """List runs."""
    conditions = query.conditions()
    total = writer.session.scalar(select(func.count()).select_from(Run).where(*conditions)) or 0
    count = max(min(query.limit, total - query.offset), 0)
    # The second half of a long history is counted from its end.
    from_end = total - query.offset - count
    offset, backwards = min((query.offset, False), (from_end, True))
    # First the ids, which an index gives: to sort whole runs takes ten times as long.
    ids = select(Run.id).where(*conditions).order_by(*query.ordering(backwards)).limit(count).offset(offset)
    chosen = select(Run).where(Run.id.in_(ids)).order_by(*query.ordering())
    if "run_steps" in writer.related:
        chosen = chosen.options(selectinload(Run.run_steps))
    return page(writer.service, [writer.run(run) for run in writer.session.scalars(chosen)], total, query)


@router.get("/runs/{run_id}")
async def get_run(writer: TheWriter, run: TheRun) -> JSONResponse:
    """Get a run."""
    return envelope(writer.run(run))


@router.post("/runs/{run_id}/cancel")
async def cancel_run(service: TheService, writer: TheWriter, run: TheRun) -> JSONResponse:
    """Cancel a run and wait until its dbt has stopped; a run that has finished stays as it is."""
    await service.scheduler.cancel(run.id)
    writer.session.expire_all()
    return envelope(writer.run(run))


@router.get("/runs/{run_id}/retry")
async def get_run_failure_details(writer: TheWriter, run: TheRun) -> JSONResponse:
    """Say at which step a failed run ended, and which steps it never reached."""
    _refuse_retry(writer.retry_refusal(run))
    failed, skipped = failed_and_skipped(run)
    return envelope(
        {"failed_step": failed and failed.command, "skipped_steps": [step.command for step in skipped]}
    )


@router.post("/runs/{run_id}/retry")
async def retry_run(service: TheService, writer: TheWriter, run: TheRun) -> JSONResponse:
    """Queue a new run that goes on from where a failed run ended."""
    _refuse_retry(writer.retry_refusal(run))
    return triggered(writer, service.scheduler.retry(run.id))


@router.get("/steps/{step_id}")
async def get_step(writer: TheWriter, step_id: Id) -> JSONResponse:
    """Get a step of a run."""
    step = writer.session.get(RunStep, step_id)
    if step is None:
        raise refusal(404)
    return envelope(writer.step(step))


def triggered(writer: TheWriter, run_id: int) -> JSONResponse:
    """Answer with a new run; unasked, its trigger and job are written in full."""
    in_full = Writer(writer.service, writer.session, {"trigger", "job"})
    return envelope(in_full.run(writer.session.get_one(Run, run_id)))


def _refuse_retry(reason: str | None) -> None:
    if reason:
        raise refusal(400, {"retry_not_supported_reason": reason})

"""Endpoints for runs."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.responses import JSONResponse
from sqlalchemy import func, select
from sqlalchemy.orm import selectinload

from include.local_dbt_cloud.api import objects
from include.local_dbt_cloud.api.access import Id, TheService, run_or_404
from include.local_dbt_cloud.api.envelope import envelope, page
from include.local_dbt_cloud.api.query import RunQuery, related
from include.local_dbt_cloud.store import Run

router = APIRouter()

Related = Annotated[set[str], Depends(related)]


@router.get("/runs")
async def list_runs(
    service: TheService, query: Annotated[RunQuery, Query()], related: Related
) -> JSONResponse:
    """List runs."""
    conditions = query.conditions()
    chosen = (
        select(Run).where(*conditions).order_by(*query.ordering()).limit(query.limit).offset(query.offset)
    )
    if "run_steps" in related:
        chosen = chosen.options(selectinload(Run.run_steps))
    with service.sessions() as session:
        total = session.scalar(select(func.count()).select_from(Run).where(*conditions)) or 0
        runs = [objects.run_object(service, session, run, related) for run in session.scalars(chosen)]
    account_id = service.declaration.account.id
    filters = {"limit": query.limit, "offset": query.offset, "state": "all", "account_id": account_id}
    return page(runs, total, filters | query.filters(), query.order_by)


@router.get("/runs/{run_id}")
async def get_run(service: TheService, run_id: Id, related: Related) -> JSONResponse:
    """Get a run."""
    with service.sessions() as session:
        return envelope(objects.run_object(service, session, run_or_404(session, run_id), related))


@router.post("/runs/{run_id}/cancel")
async def cancel_run(service: TheService, run_id: Id) -> JSONResponse:
    """Cancel a run and wait until its dbt has stopped; a run that has finished stays as it is."""
    with service.sessions() as session:
        run_or_404(session, run_id)
    await service.scheduler.cancel(run_id)
    return await get_run(service, run_id, set())

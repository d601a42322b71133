"""The control API under ``/local/``, for tests: faults, runs, the queue, recorded requests.

No fault applies to it, and none of its requests is recorded.
"""

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from sqlalchemy import select
from sqlalchemy.orm import selectinload

from local_dbt_cloud.api.authentication import Id, RunDependency
from local_dbt_cloud.api.envelope import envelope, refusal
from local_dbt_cloud.api.serializers import Serializer
from local_dbt_cloud.database import ACTIVE, Run
from local_dbt_cloud.dependencies import ServiceDependency, SessionDependency
from local_dbt_cloud.fault_injection import Fault
from local_dbt_cloud.job_store import active_job
from local_dbt_cloud.run_control import ExistingRunChange, NewRun, change_run, create_run

router = APIRouter(prefix="/local")


class SchedulerState(BaseModel):
    """Whether queued runs stay in the queue."""

    model_config = ConfigDict(extra="forbid")

    paused: bool


@router.get("/faults")
async def list_faults(service: ServiceDependency) -> JSONResponse:
    """List the active faults."""
    return envelope(service.faults.all())


@router.post("/faults")
async def add_fault(service: ServiceDependency, fault: Fault) -> JSONResponse:
    """Activate a fault."""
    return envelope({"id": service.faults.add(fault)} | fault.model_dump())


@router.delete("/faults")
async def clear_faults(service: ServiceDependency) -> JSONResponse:
    """Clear all faults."""
    service.faults.clear()
    return envelope([])


@router.delete("/faults/{fault_id}")
async def clear_fault(service: ServiceDependency, fault_id: Id) -> JSONResponse:
    """Clear a fault."""
    if not service.faults.clear(fault_id):
        raise refusal(404)
    return envelope(service.faults.all())


@router.get("/requests")
async def list_requests(service: ServiceDependency) -> JSONResponse:
    """List the recorded requests, oldest first."""
    return envelope(service.requests.all())


@router.delete("/requests")
async def clear_requests(service: ServiceDependency) -> JSONResponse:
    """Forget the recorded requests."""
    service.requests.clear()
    return envelope([])


@router.get("/scheduler")
async def get_scheduler(service: ServiceDependency) -> JSONResponse:
    """Return whether queued runs stay in the queue."""
    return envelope({"paused": service.scheduler.paused})


@router.post("/scheduler")
async def set_scheduler(service: ServiceDependency, state: SchedulerState) -> JSONResponse:
    """Pause or resume the dispatch of queued runs."""
    service.scheduler.paused = state.paused
    return envelope({"paused": service.scheduler.paused})


@router.get("/runs")
async def list_runs(
    service: ServiceDependency, session: SessionDependency, job_id: Id | None = None
) -> JSONResponse:
    """List all runs with their triggers and steps, oldest first."""
    runs = select(Run).order_by(Run.id).options(selectinload(Run.run_steps))
    if job_id is not None:
        runs = runs.where(Run.job_definition_id == job_id)
    serializer = Serializer(service, session, {"trigger", "run_steps"})
    return envelope([serializer.run(run) for run in session.scalars(runs)])


@router.post("/runs")
async def new_run(service: ServiceDependency, session: SessionDependency, new: NewRun) -> JSONResponse:
    """Create a run that dbt never executes, in any status."""
    job = active_job(session, new.job_id)
    if job is None:
        raise refusal(404)
    run = create_run(session, service.data, job, new)
    service.scheduler.take_control(run.id)
    session.commit()
    return envelope(Serializer(service, session, {"trigger", "run_steps"}).run(run))


@router.post("/runs/{run_id}")
async def set_run(
    service: ServiceDependency, session: SessionDependency, run: RunDependency, change: ExistingRunChange
) -> JSONResponse:
    """Hold a run in a status, or end it; dbt never executes it from now on."""
    if run.status in ACTIVE or not change.only_if_active:
        try:
            service.scheduler.take_control(run.id)
        except ValueError as error:
            raise refusal(400, {"run_id": f"{error}."}) from error
        change_run(session, service.data, run, change)
        session.commit()
        session.expire(run)
    return envelope(Serializer(service, session, {"trigger", "run_steps"}).run(run))


@router.post("/reset")
async def reset(service: ServiceDependency) -> JSONResponse:
    """Return to the state of a first start."""
    await service.reset()
    return envelope({})

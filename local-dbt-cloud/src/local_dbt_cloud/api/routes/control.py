"""The control API below ``/local/`` for tests: faults, runs, the queue, recorded requests.

Faults do not apply to it, and its requests are not recorded.
"""

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from sqlalchemy import select
from sqlalchemy.orm import selectinload

from local_dbt_cloud.api.authentication import check_token
from local_dbt_cloud.api.envelope import api_error, envelope
from local_dbt_cloud.api.parameters import JobDependency, PathId, RunDependency
from local_dbt_cloud.api.serializers import Serializer
from local_dbt_cloud.database import Run
from local_dbt_cloud.dependencies import ServiceDependency, SessionDependency
from local_dbt_cloud.fault_injection import Fault
from local_dbt_cloud.job_store import active_job
from local_dbt_cloud.run_control import (
    CreateRunRequest,
    UpdateRunRequest,
    create_run,
    set_run_status,
)
from local_dbt_cloud.run_course import Courses
from local_dbt_cloud.run_status import ACTIVE_STATUSES

router = APIRouter(prefix="/local", dependencies=[Depends(check_token)])


class SchedulerState(BaseModel):
    """State of the scheduler; while paused, runs stay queued."""

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
    """Remove all faults."""
    service.faults.clear()
    return envelope([])


@router.delete("/faults/{fault_id}")
async def remove_fault(service: ServiceDependency, fault_id: PathId) -> JSONResponse:
    """Remove a fault."""
    if not service.faults.remove(fault_id):
        raise api_error(404)
    return envelope(service.faults.all())


@router.get("/requests")
async def list_requests(service: ServiceDependency) -> JSONResponse:
    """List the recorded requests, oldest first."""
    return envelope(service.requests.all())


@router.delete("/requests")
async def clear_requests(service: ServiceDependency) -> JSONResponse:
    """Delete the recorded requests."""
    service.requests.clear()
    return envelope([])


@router.get("/scheduler")
async def get_scheduler(service: ServiceDependency) -> JSONResponse:
    """Get the state of the scheduler."""
    return envelope({"paused": service.scheduler.paused})


@router.post("/scheduler")
async def set_scheduler(service: ServiceDependency, state: SchedulerState) -> JSONResponse:
    """Pause or resume the scheduler."""
    service.scheduler.paused = state.paused
    return envelope({"paused": service.scheduler.paused})


@router.get("/runs")
async def list_runs(
    service: ServiceDependency, session: SessionDependency, job_id: PathId | None = None
) -> JSONResponse:
    """List all runs with their triggers and steps, oldest first."""
    runs = select(Run).order_by(Run.id).options(selectinload(Run.run_steps))
    if job_id is not None:
        runs = runs.where(Run.job_definition_id == job_id)
    serializer = Serializer(service, session, {"trigger", "run_steps"})
    return envelope([serializer.run(run) for run in session.scalars(runs)])


@router.post("/runs")
async def post_run(
    service: ServiceDependency, session: SessionDependency, request: CreateRunRequest
) -> JSONResponse:
    """Create a run that dbt never executes, in any status."""
    job = active_job(session, request.job_id)
    if job is None:
        raise api_error(404)
    run = create_run(session, service.data, job, request)
    service.scheduler.take_control(run.id)
    session.commit()
    return envelope(Serializer(service, session, {"trigger", "run_steps"}).run(run))


@router.post("/runs/{run_id}")
async def update_run(
    service: ServiceDependency, session: SessionDependency, run: RunDependency, request: UpdateRunRequest
) -> JSONResponse:
    """Set the status of a run. dbt never executes it afterwards."""
    if run.status in ACTIVE_STATUSES or not request.only_if_active:
        try:
            service.scheduler.take_control(run.id)
        except ValueError as error:
            raise api_error(400, {"run_id": f"{error}."}) from error
        earlier_status = run.status
        set_run_status(session, service.data, run, request)
        session.commit()
        session.expire(run)
        if run.status not in (*ACTIVE_STATUSES, earlier_status):
            service.scheduler.run_ended(run.id)
    return envelope(Serializer(service, session, {"trigger", "run_steps"}).run(run))


@router.post("/jobs/{job_id}/simulation")
async def simulate_job(service: ServiceDependency, job: JobDependency, courses: Courses) -> JSONResponse:
    """Simulate the runs of a job from now on: one course for each run in order, the last one repeats."""
    service.scheduler.simulator.simulate(job.id, courses)
    return envelope([course.model_dump() for course in courses])


@router.post("/reset")
async def reset(service: ServiceDependency) -> JSONResponse:
    """Restore the state of a first start."""
    await service.reset()
    return envelope({})

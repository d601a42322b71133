"""Actions of the pages: trigger a job, cancel or retry a run, clear the faults."""

from fastapi import APIRouter, Depends, HTTPException
from fastapi.responses import RedirectResponse

from local_dbt_cloud.database import Run
from local_dbt_cloud.dependencies import ServiceDependency, SessionDependency
from local_dbt_cloud.job_store import active_job
from local_dbt_cloud.run_plan import retry_not_supported_reason
from local_dbt_cloud.service import Service
from local_dbt_cloud.trigger_request import TriggerRequest
from local_dbt_cloud.validation import Id
from local_dbt_cloud.web.security import ActionRejected, RunDependency, check_account, check_same_origin

router = APIRouter(dependencies=[Depends(check_same_origin)])
account_router = APIRouter(prefix="/deploy/{account_id}", dependencies=[Depends(check_account)])


def _redirect_to_run(service: Service, session: SessionDependency, run_id: int) -> RedirectResponse:
    run = session.get_one(Run, run_id)
    return RedirectResponse(service.href(run).removeprefix(service.pages_url), 303)


@account_router.post("/jobs/{job_id}/run/")
async def trigger_run(service: ServiceDependency, session: SessionDependency, job_id: Id) -> RedirectResponse:
    """Trigger a run of a job."""
    if active_job(session, job_id) is None:
        raise HTTPException(404)
    cause = "Kicked off from the pages of the local dbt Cloud"
    return _redirect_to_run(
        service, session, service.scheduler.trigger(job_id, TriggerRequest(cause=cause), "ui")
    )


@account_router.post("/projects/{project_id}/runs/{run_id}/cancel/")
async def cancel_run(
    service: ServiceDependency, session: SessionDependency, run: RunDependency
) -> RedirectResponse:
    """Cancel a run."""
    await service.scheduler.cancel(run.id)
    return _redirect_to_run(service, session, run.id)


@account_router.post("/projects/{project_id}/runs/{run_id}/retry/")
async def retry_run(
    service: ServiceDependency, session: SessionDependency, run: RunDependency
) -> RedirectResponse:
    """Retry a failed run from the point of failure."""
    if reason := retry_not_supported_reason(session, service.data, run):
        raise ActionRejected(f"Run {run.id} cannot be retried: {reason}.")
    return _redirect_to_run(service, session, service.scheduler.retry(run.id))


@router.post("/local/faults/clear/")
async def clear_faults(service: ServiceDependency) -> RedirectResponse:
    """Remove all faults."""
    service.faults.clear()
    return RedirectResponse("/", 303)


router.include_router(account_router)

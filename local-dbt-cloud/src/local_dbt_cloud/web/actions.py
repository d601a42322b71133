"""What the pages do, through the same code as the API: run a job, cancel and retry a run, clear faults."""

from fastapi import APIRouter, Depends, HTTPException
from fastapi.responses import RedirectResponse

from local_dbt_cloud.database import Run
from local_dbt_cloud.dependencies import ServiceDependency, SessionDependency
from local_dbt_cloud.job_store import active_job
from local_dbt_cloud.run_plan import retry_refusal
from local_dbt_cloud.service import Service
from local_dbt_cloud.trigger_request import TriggerRequest
from local_dbt_cloud.validation import Id
from local_dbt_cloud.web.security import Refused, RunDependency, check_account, check_same_origin

router = APIRouter(dependencies=[Depends(check_same_origin)])
of_account = APIRouter(prefix="/deploy/{account_id}", dependencies=[Depends(check_account)])


def _go_to_run(service: Service, session: SessionDependency, run_id: int) -> RedirectResponse:
    run = session.get_one(Run, run_id)
    return RedirectResponse(service.href(run).removeprefix(service.pages_url), 303)


@of_account.post("/jobs/{job_id}/run/")
async def run_now(service: ServiceDependency, session: SessionDependency, job_id: Id) -> RedirectResponse:
    """Trigger a run of a job."""
    if active_job(session, job_id) is None:
        raise HTTPException(404)
    cause = "Kicked off from the pages of the local dbt Cloud"
    return _go_to_run(service, session, service.scheduler.trigger(job_id, TriggerRequest(cause=cause), "ui"))


@of_account.post("/projects/{project_id}/runs/{run_id}/cancel/")
async def cancel(
    service: ServiceDependency, session: SessionDependency, run: RunDependency
) -> RedirectResponse:
    """Cancel a run."""
    await service.scheduler.cancel(run.id)
    return _go_to_run(service, session, run.id)


@of_account.post("/projects/{project_id}/runs/{run_id}/retry/")
async def retry(
    service: ServiceDependency, session: SessionDependency, run: RunDependency
) -> RedirectResponse:
    """Queue a run that goes on from where a failed run ended."""
    if reason := retry_refusal(session, service.data, run):
        raise Refused(f"Run {run.id} cannot be retried: {reason}.")
    return _go_to_run(service, session, service.scheduler.retry(run.id))


@router.post("/local/faults/clear/")
async def clear_faults(service: ServiceDependency) -> RedirectResponse:
    """Turn all faults off."""
    service.faults.clear()
    return RedirectResponse("/", 303)


router.include_router(of_account)

"""What the pages show: jobs, runs, a run, an artifact."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import FileResponse, RedirectResponse, Response
from sqlalchemy import func, select

from local_dbt_cloud.database import ACTIVE, Job, Run
from local_dbt_cloud.dependencies import ServiceDependency, SessionDependency
from local_dbt_cloud.job_store import active_jobs
from local_dbt_cloud.run_plan import active_run_ids, blocked_by, newest_run_id, retry_refusal
from local_dbt_cloud.validation import MAX_ID
from local_dbt_cloud.web.security import RunDependency, check_account

RUNS_ON_A_PAGE = 50

router = APIRouter()
of_account = APIRouter(prefix="/deploy/{account_id}", dependencies=[Depends(check_account)])

# A form sends what is not chosen as an empty text.
Choice = Annotated[str, Query(pattern=r"^[0-9]{0,19}$")]


def render(request: Request, template: str, status_code: int = 200, **context: Any) -> Response:
    """Answer with a page."""
    # In a frame, another site could place our actions under what its visitors mean to press.
    headers = {"Content-Security-Policy": "frame-ancestors 'none'"}
    return request.app.state.templates.TemplateResponse(request, template, context, status_code, headers)


@router.get("/")
async def home(request: Request, session: SessionDependency) -> Response:
    """Show the jobs, each with its newest run."""
    jobs = active_jobs(session)
    newest = {job.id: session.get(Run, newest_run_id(session, job.id) or 0) for job in jobs}
    return render(request, "home.html", jobs=jobs, newest=newest)


@of_account.get("/runs/")
async def list_runs(
    request: Request,
    session: SessionDependency,
    job: Choice = "",
    status: Choice = "",
    page: Annotated[int, Query(ge=1, le=10**9)] = 1,
) -> Response:
    """Show runs, the newest first; of one job or in one status if these are chosen."""
    conditions = []
    if job:
        conditions.append(Run.job_definition_id == min(int(job), MAX_ID))
    if status:
        conditions.append(Run.status == min(int(status), MAX_ID))
    total = session.scalar(select(func.count()).select_from(Run).where(*conditions)) or 0
    newest_first = select(Run).where(*conditions).order_by(Run.id.desc()).limit(RUNS_ON_A_PAGE)
    runs = session.scalars(newest_first.offset((page - 1) * RUNS_ON_A_PAGE)).all()
    names = {one.id: one.definition["name"] for one in session.scalars(select(Job))}
    return render(
        request, "runs.html", runs=runs, names=names, total=total, page=page,
        pages=-(-total // RUNS_ON_A_PAGE) or 1, chosen={"job": job, "status": status},
    )  # fmt: skip


# dbt-jobs-as-code prints links to jobs in this form, which is dbt Cloud's.
@of_account.get("/projects/{project_id}/jobs/{job_id}", response_class=RedirectResponse)
async def get_job(account_id: int, job_id: int) -> str:
    """Show the runs of a job."""
    return f"/deploy/{account_id}/runs/?job={job_id}"


@of_account.get("/projects/{project_id}/runs/{run_id}/")
async def get_run(
    request: Request, service: ServiceDependency, session: SessionDependency, run: RunDependency
) -> Response:
    """Show a run."""
    return render(
        request, "run.html", run=run, job=session.get(Job, run.job_definition_id),
        project=service.declaration.project(run.project_id),
        environment=service.declaration.environment(run.environment_id),
        blocked_by=blocked_by(run, partial(active_run_ids, session)),
        can_retry=retry_refusal(session, service.data, run) is None,
    )  # fmt: skip


@of_account.get("/projects/{project_id}/runs/{run_id}/artifacts/{step}/{path:path}")
async def get_artifact(service: ServiceDependency, run: RunDependency, step: int, path: str) -> FileResponse:
    """Show an artifact of a finished run."""
    known = run.status not in ACTIVE and step in {one.index for one in run.run_steps}
    file = service.data.artifact(run.id, step, path) if known else None
    if file is None:
        raise HTTPException(404)
    # What a dbt project writes is not ours: it must not act in the name of these pages.
    headers = {"Content-Security-Policy": "sandbox", "X-Content-Type-Options": "nosniff"}
    media_type = "application/json" if path.endswith(".json") else "text/plain"
    return FileResponse(file, headers=headers, media_type=media_type)


router.include_router(of_account)

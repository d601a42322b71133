"""Views of the pages: jobs, runs, a run, an artifact."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from sqlalchemy import func, select

from local_dbt_cloud.database import Environment, Job, Project, Run
from local_dbt_cloud.dependencies import ServiceDependency, SessionDependency
from local_dbt_cloud.job_store import active_job, active_jobs
from local_dbt_cloud.run_plan import active_run_ids, blocked_by, newest_run_id, retry_not_supported_reason
from local_dbt_cloud.run_status import ACTIVE_STATUSES, RunStatus
from local_dbt_cloud.validation import MAX_ID
from local_dbt_cloud.web.run_results import has_results, read_results
from local_dbt_cloud.web.security import RunDependency, check_account

RUNS_PER_PAGE = 50
# On the page of a job.
RUNS_OF_JOB = 20
RUNS_IN_CHART = 50
OUTCOMES = {RunStatus.SUCCESS: "success", RunStatus.ERROR: "error", RunStatus.CANCELLED: "cancelled"}

router = APIRouter()
account_router = APIRouter(prefix="/deploy/{account_id}", dependencies=[Depends(check_account)])

# A number, or empty: a form sends an option that is not selected as an empty string.
OptionalNumber = Annotated[str, Query(pattern=r"^[0-9]{0,19}$")]


def render(request: Request, template: str, status_code: int = 200, **context: Any) -> Response:
    """Render a page."""
    # Prevents clickjacking.
    headers = {"Content-Security-Policy": "frame-ancestors 'none'"}
    return request.app.state.templates.TemplateResponse(request, template, context, status_code, headers)


@router.get("/")
async def home(request: Request, session: SessionDependency) -> Response:
    """Show all jobs, each with its newest run."""
    jobs = active_jobs(session)
    newest = {job.id: session.get(Run, newest_run_id(session, job.id) or 0) for job in jobs}
    return render(request, "home.html", jobs=jobs, newest=newest)


@account_router.get("/runs/")
@account_router.get("/projects/{project_id}/runs/")
async def list_runs(
    request: Request,
    session: SessionDependency,
    project_id: int | None = None,
    job: OptionalNumber = "",
    status: OptionalNumber = "",
    page: Annotated[int, Query(ge=1, le=10**9)] = 1,
) -> Response:
    """Show runs, newest first, optionally of one project or job, or in one status."""
    conditions = []
    if project_id is not None:
        if abs(project_id) > MAX_ID or session.get(Project, project_id) is None:
            raise HTTPException(404)
        conditions.append(Run.project_id == project_id)
    if job:
        conditions.append(Run.job_definition_id == min(int(job), MAX_ID))
    if status:
        conditions.append(Run.status == min(int(status), MAX_ID))
    total = session.scalar(select(func.count()).select_from(Run).where(*conditions)) or 0
    newest_first = select(Run).where(*conditions).order_by(Run.id.desc()).limit(RUNS_PER_PAGE)
    runs = session.scalars(newest_first.offset((page - 1) * RUNS_PER_PAGE)).all()
    names = {stored.id: stored.definition["name"] for stored in session.scalars(select(Job))}
    return render(
        request, "runs.html", runs=runs, names=names, total=total, page=page,
        pages=-(-total // RUNS_PER_PAGE) or 1, filters={"job": job, "status": status},
    )  # fmt: skip


# The address of a job in dbt Cloud; dbt-jobs-as-code prints it.
@account_router.get("/projects/{project_id}/jobs/{job_id}")
async def get_job(request: Request, session: SessionDependency, project_id: int, job_id: int) -> Response:
    """Show a job: its settings, the durations of its runs, and the newest ones."""
    job = session.get(Job, job_id) if abs(job_id) <= MAX_ID else None
    if job is None or job.definition["project_id"] != project_id:
        raise HTTPException(404)
    condition = Run.job_definition_id == job.id
    newest = session.scalars(select(Run).where(condition).order_by(Run.id.desc()).limit(RUNS_IN_CHART)).all()
    finished = [_chart_entry(run) for run in reversed(newest) if run.finished_at and run.started_at]
    return render(
        request, "job.html", job=job, runs=newest[:RUNS_OF_JOB], names={job.id: job.definition["name"]},
        total=session.scalar(select(func.count()).select_from(Run).where(condition)),
        finished=finished, is_active_job=active_job(session, job.id) is not None,
        project=session.get_one(Project, project_id).definition,
        environment=session.get_one(Environment, job.definition["environment_id"]).definition,
    )  # fmt: skip


def _chart_entry(run: Run) -> dict[str, Any]:
    times = {name: getattr(run, name) for name in ("created_at", "started_at", "finished_at")}
    outcome = OUTCOMES.get(RunStatus(run.status))
    return {"run_id": run.id, "outcome": outcome} | {
        name: time and time.isoformat() for name, time in times.items()
    }


@account_router.get("/projects/{project_id}/runs/{run_id}/")
async def get_run(
    request: Request, service: ServiceDependency, session: SessionDependency, run: RunDependency
) -> Response:
    """Show a run."""
    return render(
        request, "run.html", run=run, job=session.get(Job, run.job_definition_id),
        project=session.get_one(Project, run.project_id).definition,
        environment=session.get_one(Environment, run.environment_id).definition,
        blocked_by=blocked_by(run, partial(active_run_ids, session)),
        can_retry=retry_not_supported_reason(session, service.data, run) is None,
        has_results=run.status not in ACTIVE_STATUSES and has_results(service.data, run),
    )  # fmt: skip


@account_router.get("/projects/{project_id}/runs/{run_id}/results.json")
async def get_results(service: ServiceDependency, run: RunDependency) -> JSONResponse:
    """Return the results of a finished run's nodes, for the view on its page."""
    if run.status in ACTIVE_STATUSES:
        raise HTTPException(404)
    return JSONResponse(read_results(service.data, run))


@account_router.get("/projects/{project_id}/runs/{run_id}/artifacts/{step}/{path:path}")
async def get_artifact(service: ServiceDependency, run: RunDependency, step: int, path: str) -> FileResponse:
    """Show an artifact of a finished run."""
    exists = run.status not in ACTIVE_STATUSES and step in {run_step.index for run_step in run.run_steps}
    file = service.data.artifact(run.id, step, path) if exists else None
    if file is None:
        raise HTTPException(404)
    # A dbt project controls the content of artifacts, so scripts in them must not run with the pages' origin.
    headers = {"Content-Security-Policy": "sandbox", "X-Content-Type-Options": "nosniff"}
    media_type = "application/json" if path.endswith(".json") else "text/plain"
    return FileResponse(file, headers=headers, media_type=media_type)


router.include_router(account_router)

"""The pages of the local dbt Cloud: a list of runs, and a run at the address that the API calls its href."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.templating import Jinja2Templates
from sqlalchemy import func, select
from starlette.middleware.trustedhost import TrustedHostMiddleware

from include.local_dbt_cloud.account import MAX_INT64
from include.local_dbt_cloud.certificates import HOST_NAMES
from include.local_dbt_cloud.files import read_text
from include.local_dbt_cloud.humanize import words
from include.local_dbt_cloud.service import Service
from include.local_dbt_cloud.store import ACTIVE, Run, RunStep, humanized, now

RUNS_ON_A_PAGE = 50


def _took(thing: Run | RunStep) -> str:
    if thing.started_at is None:
        return ""
    duration = (thing.finished_at or now()) - thing.started_at
    return words(duration) if duration >= timedelta(seconds=1) else "under a second"


def _ago(moment: datetime) -> str:
    # The larger of the two units is enough for a page.
    return f"{words(now() - moment).split(',')[0]} ago"


def create_pages(service: Service) -> FastAPI:
    """Make the pages' app."""
    templates = Jinja2Templates(Path(__file__).with_name("templates"))
    templates.env.globals.update(
        account=service.declaration.account,
        job_of=lambda run: service.declaration.job(run.job_definition_id),
        href=lambda run: service.href(run).removeprefix(service.pages_url),
        log_of=lambda step: read_text(service.data.step_log(step.run_id, step.index)),
        is_active=lambda run: run.status in ACTIVE,
    )
    templates.env.filters.update(
        status=humanized,
        took=_took,
        ago=_ago,
    )
    # No pages of documentation, and no answers to names that another site has pointed at this machine.
    app = FastAPI(title="local dbt Cloud pages", openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=HOST_NAMES)

    def render(request: Request, template: str, code: int = 200, **context: object) -> Response:
        return templates.TemplateResponse(request, template, context, status_code=code)

    @app.get("/", response_class=RedirectResponse)
    async def home() -> str:
        return f"/deploy/{service.declaration.account.id}/runs/"

    @app.get("/deploy/{account_id}/runs/", response_class=HTMLResponse)
    async def list_runs(
        request: Request, account_id: int, page: Annotated[int, Query(ge=1, le=10**9)] = 1
    ) -> Response:
        check_account(account_id)
        with service.sessions() as session:
            total = session.scalar(select(func.count()).select_from(Run)) or 0
            newest_first = select(Run).order_by(Run.id.desc())
            runs = session.scalars(
                newest_first.limit(RUNS_ON_A_PAGE).offset((page - 1) * RUNS_ON_A_PAGE)
            ).all()
        return render(
            request, "runs.html", runs=runs, total=total, page=page, pages=-(-total // RUNS_ON_A_PAGE) or 1
        )

    @app.get("/deploy/{account_id}/projects/{project_id}/runs/{run_id}/", response_class=HTMLResponse)
    async def get_run(request: Request, account_id: int, project_id: int, run_id: int) -> Response:
        check_account(account_id)
        with service.sessions() as session:
            run = session.get(Run, run_id) if abs(run_id) <= MAX_INT64 else None
            if run is None or run.project_id != project_id:
                raise HTTPException(404, "There is no run at this address.")
            blocked_by = service.blocked_by(session, run)
            steps = list(run.run_steps)
        project = service.declaration.project(run.project_id)
        environment = service.declaration.environment(run.environment_id)
        return render(
            request,
            "run.html",
            run=run,
            steps=steps,
            blocked_by=blocked_by,
            project=project,
            environment=environment,
        )

    @app.exception_handler(404)
    @app.exception_handler(RequestValidationError)
    def _not_found(request: Request, error: Exception) -> Response:
        return render(request, "not_found.html", code=404)

    def check_account(account_id: int) -> None:
        if account_id != service.declaration.account.id:
            raise HTTPException(404)

    return app

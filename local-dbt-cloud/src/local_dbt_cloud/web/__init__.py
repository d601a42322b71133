"""The pages of the local dbt Cloud: jobs, runs, and a run at the address that the API calls its href."""

import logging
from datetime import datetime, timedelta
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.templating import Jinja2Templates
from sqlalchemy.exc import DatabaseError
from starlette.middleware.trustedhost import TrustedHostMiddleware

from local_dbt_cloud.certificates import HOST_NAMES
from local_dbt_cloud.data_directory import read_text
from local_dbt_cloud.database import ACTIVE, Run, RunStatus, RunStep, humanized, now, unusable
from local_dbt_cloud.durations import words
from local_dbt_cloud.service import Service
from local_dbt_cloud.web import actions, views

log = logging.getLogger(__name__)


def _took(thing: Run | RunStep) -> str:
    if thing.started_at is None:
        return ""
    duration = (thing.finished_at or now()) - thing.started_at
    return words(duration) if duration >= timedelta(seconds=1) else "under a second"


def _ago(moment: datetime) -> str:
    age = now() - moment
    # The larger of the two units is enough for a page.
    return f"{words(age).split(',')[0]} ago" if age >= timedelta(seconds=1) else "just now"


def _utc(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def create_pages(service: Service) -> FastAPI:
    """Make the pages' app."""
    templates = Jinja2Templates(Path(__file__).with_name("templates"))
    templates.env.globals.update(
        account=service.declaration.account,
        faults=service.faults.all,
        href=lambda run: service.href(run).removeprefix(service.pages_url),
        log_of=lambda step: read_text(service.data.step_log(step.run_id, step.index)),
        # What is asked for most, such as run_results.json, lies at the top.
        artifacts_of=lambda step: sorted(
            service.data.artifact_paths(step.run_id, step.index), key=lambda path: ("/" in path, path)
        ),
        is_active=lambda run: run.status in ACTIVE,
        statuses=list(RunStatus),
    )
    templates.env.filters.update(status=humanized, took=_took, ago=_ago, utc=_utc)
    # No pages of documentation, and no answers to names that another site has pointed at this machine.
    app = FastAPI(title="local dbt Cloud pages", openapi_url=None)
    app.state.service, app.state.templates = service, templates
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=HOST_NAMES)
    app.include_router(views.router)
    app.include_router(actions.router)

    def say(request: Request, code: int, title: str, sentence: str = "") -> Response:
        return views.render(request, "message.html", code, title=title, sentence=sentence)

    @app.exception_handler(404)
    @app.exception_handler(405)
    @app.exception_handler(RequestValidationError)
    def _not_found(request: Request, error: Exception) -> Response:
        return say(request, 404, "There is nothing at this address")

    @app.exception_handler(actions.Refused)
    def _refused(request: Request, error: actions.Refused) -> Response:
        return say(request, error.code, "This was not done", str(error))

    @app.exception_handler(Exception)
    def _failed(request: Request, error: Exception) -> Response:
        log.error("%s %s failed.", request.method, request.url.path, exc_info=error)
        return say(request, 500, "The local dbt Cloud failed", f"{type(error).__name__}: its log says more.")

    @app.exception_handler(DatabaseError)
    def _not_stored(request: Request, error: DatabaseError) -> Response:
        return say(request, 500, "This was not done", unusable(service.data.state, str(error.orig)))

    return app

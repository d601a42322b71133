"""The web pages: jobs, runs, and each run at the address that the API returns as its ``href``."""

import logging
from datetime import datetime, timedelta
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from sqlalchemy.exc import DatabaseError
from starlette.middleware.trustedhost import TrustedHostMiddleware

from local_dbt_cloud.certificates import HOST_NAMES
from local_dbt_cloud.data_directory import read_text
from local_dbt_cloud.database import Run, RunStep, database_error_message, utc_now
from local_dbt_cloud.durations import format_words
from local_dbt_cloud.run_status import ACTIVE_STATUSES, RunStatus, humanize_status
from local_dbt_cloud.service import Service
from local_dbt_cloud.web import actions, views
from local_dbt_cloud.web.security import ActionRejected

log = logging.getLogger(__name__)


def _duration(run: Run | RunStep) -> str:
    if run.started_at is None:
        return ""
    duration = (run.finished_at or utc_now()) - run.started_at
    return format_words(duration) if duration >= timedelta(seconds=1) else "under a second"


def _ago(time: datetime) -> str:
    age = utc_now() - time
    # Only the larger of the two units.
    return f"{format_words(age).split(',')[0]} ago" if age >= timedelta(seconds=1) else "just now"


def _utc(time: datetime) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC")


def create_pages(service: Service) -> FastAPI:
    """Create the app of the pages."""
    # No documentation pages. Allowing only our host names prevents DNS rebinding.
    app = FastAPI(title="local dbt Cloud pages", openapi_url=None)
    app.state.service, app.state.templates = service, _templates(service)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=HOST_NAMES)
    app.mount("/static", StaticFiles(directory=Path(__file__).with_name("static")))
    app.include_router(views.router)
    app.include_router(actions.router)
    _add_exception_handlers(app, service)
    return app


def _templates(service: Service) -> Jinja2Templates:
    templates = Jinja2Templates(Path(__file__).with_name("templates"))
    templates.env.globals.update(
        account=service.config.account,
        faults=service.faults.all,
        href=lambda run: service.href(run).removeprefix(service.pages_url),
        log_of=lambda step: read_text(service.data.step_log(step.run_id, step.index)),
        # Top-level files such as run_results.json first.
        artifacts_of=lambda step: sorted(
            service.data.artifact_paths(step.run_id, step.index), key=lambda path: ("/" in path, path)
        ),
        is_active=lambda run: run.status in ACTIVE_STATUSES,
        statuses=list(RunStatus),
    )
    templates.env.filters.update(status=humanize_status, duration=_duration, ago=_ago, utc=_utc)
    return templates


def _add_exception_handlers(app: FastAPI, service: Service) -> None:
    def message_page(request: Request, code: int, title: str, message: str = "") -> Response:
        return views.render(request, "message.html", code, title=title, message=message)

    @app.exception_handler(404)
    @app.exception_handler(405)
    @app.exception_handler(RequestValidationError)
    def _not_found(request: Request, error: Exception) -> Response:
        return message_page(request, 404, "Page not found")

    @app.exception_handler(ActionRejected)
    def _rejected(request: Request, error: ActionRejected) -> Response:
        return message_page(request, error.code, "The action was not performed", str(error))

    @app.exception_handler(Exception)
    def _internal_error(request: Request, error: Exception) -> Response:
        log.error("%s %s failed.", request.method, request.url.path, exc_info=error)
        message = f"{type(error).__name__}. See the log of the local dbt Cloud for the traceback."
        return message_page(request, 500, "Internal error", message)

    @app.exception_handler(DatabaseError)
    def _database_error(request: Request, error: DatabaseError) -> Response:
        message = database_error_message(service.data.state_file, str(error.orig))
        log.error("%s %s failed: %s", request.method, request.url.path, message)
        return message_page(request, 500, "Database error", message)

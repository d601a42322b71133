"""The envelope of dbt Cloud's responses: a ``status`` next to the ``data``, for errors too."""

import json
import logging
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DatabaseError
from starlette.exceptions import HTTPException as StarletteHTTPException

from local_dbt_cloud.api.query import ListQuery
from local_dbt_cloud.database import database_error_message
from local_dbt_cloud.service import Service

log = logging.getLogger(__name__)

# As captured from dbt Cloud.
USER_MESSAGES = {
    400: "The request was invalid. Please double check the provided data and try again.",
    401: "Invalid token.",
    403: "Access denied: Token is not scoped to account.",
    404: "The requested resource was not found. Please check that you have the proper permissions.",
    # Not captured.
    405: "The local dbt Cloud does not support this method here: its README lists the supported operations.",
}


class _AsciiResponse(JSONResponse):
    """Escapes what UTF-8 cannot encode: half of a surrogate pair, which JSON permits in a request."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, separators=(",", ":")).encode()


def envelope(data: Any, code: int = 200, message: str = "Success!", **more: Any) -> JSONResponse:
    """Return a response.

    :param more: Further top-level fields.
    """
    # As captured from dbt Cloud: null for 401 and 403, otherwise empty.
    developer_message = None if code in (401, 403) else ""
    status = {
        "code": code,
        "is_success": code < 400,
        "user_message": message,
        "developer_message": developer_message,
    }
    return _AsciiResponse({"status": status, "data": data, **more}, status_code=code)


def list_envelope(
    service: Service, items: list[Any], total: int, query: ListQuery, message: str = "Success!"
) -> JSONResponse:
    """Return one page of a list.

    :param items: Items of the page.
    :param total: Number of items on all pages.
    :param query: Query that the response repeats; clients read ``limit`` and ``offset`` from it.
    """
    filters = {"account_id": service.config.account.id} | query.as_response_filters()
    pagination = {"count": len(items), "total_count": total}
    extra = {"filters": filters, "order_by": query.order_by, "pagination": pagination}
    return envelope(items, message=message, extra=extra)


def api_error(code: int, fields: dict[str, str] | None = None) -> HTTPException:
    """Return an exception that responds with dbt Cloud's message for a status code.

    :param fields: What is wrong, by the name of the field.
    """
    return HTTPException(code, fields)


def add_exception_handlers(app: FastAPI) -> None:
    """Respond to all exceptions with an envelope."""

    @app.exception_handler(StarletteHTTPException)
    def _http_error(request: Request, error: Any) -> JSONResponse:
        fields = error.detail if isinstance(error.detail, dict) else None
        message = USER_MESSAGES.get(error.status_code) or str(error.detail)
        return envelope(fields, error.status_code, message)

    @app.exception_handler(RequestValidationError)
    def _invalid_request(request: Request, error: RequestValidationError) -> JSONResponse:
        errors = error.errors()
        # All IDs are numbers, so no object has the requested one.
        if any(detail["loc"][0] == "path" for detail in errors):
            return envelope(None, 404, USER_MESSAGES[404])
        fields = {_field(detail["loc"]): detail["msg"].removeprefix("Value error, ") for detail in errors}
        return envelope(fields, 400, USER_MESSAGES[400])

    @app.exception_handler(DatabaseError)
    def _database_error(request: Request, error: DatabaseError) -> JSONResponse:
        message = database_error_message(request.app.state.service.data.state_file, str(error.orig))
        log.error("%s %s failed: %s", request.method, request.url.path, message)
        return envelope(None, 500, f"{message} Nothing was changed.")

    @app.exception_handler(Exception)
    def _internal_error(request: Request, error: Exception) -> JSONResponse:
        log.error("%s %s failed.", request.method, request.url.path, exc_info=error)
        message = (
            f"Internal error of the local dbt Cloud: {type(error).__name__}. See its log for the traceback."
        )
        return envelope(None, 500, message)


def _field(location: tuple[int | str, ...]) -> str:
    # ("body", "steps_override", 0) is steps_override; invalid JSON is ("body", 17), with a position.
    return next((str(part) for part in location[1:2] if isinstance(part, str)), str(location[0]))

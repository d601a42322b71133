"""The shape of dbt Cloud's answers: an envelope around the data, also around an error."""

import logging
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DatabaseError
from starlette.exceptions import HTTPException as StarletteHTTPException

from local_dbt_cloud.api.query import ListQuery
from local_dbt_cloud.database import unusable
from local_dbt_cloud.service import Service

log = logging.getLogger(__name__)

# dbt Cloud's own sentences, as captured from it.
MESSAGES = {
    400: "The request was invalid. Please double check the provided data and try again.",
    401: "Invalid token.",
    403: "Access denied: Token is not scoped to account.",
    404: "The requested resource was not found. Please check that you have the proper permissions.",
}


def envelope(data: Any, code: int = 200, message: str = "Success!", **more: Any) -> JSONResponse:
    """Return an answer: the status, the data, and whatever else stands beside them."""
    # Captures of 401 and 403 have no developer message, all others an empty one.
    developer_message = None if code in (401, 403) else ""
    status = {
        "code": code,
        "is_success": code < 400,
        "user_message": message,
        "developer_message": developer_message,
    }
    return JSONResponse({"status": status, "data": data, **more}, status_code=code)


def page(service: Service, items: list[Any], total: int, query: ListQuery) -> JSONResponse:
    """Return one page of a list, and what was asked for: clients read the limit and the offset there."""
    filters = {"account_id": service.declaration.account.id} | query.echo()
    pagination = {"count": len(items), "total_count": total}
    return envelope(items, extra={"filters": filters, "order_by": query.order_by, "pagination": pagination})


def refusal(code: int, fields: dict[str, str] | None = None) -> HTTPException:
    """Return the exception that answers with dbt Cloud's sentence for this code.

    :param fields: what is wrong with which field.
    """
    return HTTPException(code, fields)


def _field(location: tuple[int | str, ...]) -> str:
    # Of ("body", "steps_override", 0) the second; of a body that is not JSON the second is a position.
    return next((str(part) for part in location[1:2] if isinstance(part, str)), str(location[0]))


def answer_errors_in_envelopes(app: FastAPI) -> None:
    """Make every error of an app, expected or not, an envelope."""

    @app.exception_handler(StarletteHTTPException)
    def _refused(request: Request, error: Any) -> JSONResponse:
        fields = error.detail if isinstance(error.detail, dict) else None
        return envelope(fields, error.status_code, MESSAGES.get(error.status_code) or str(error.detail))

    @app.exception_handler(RequestValidationError)
    def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        # An id in the path that is no number names nothing.
        if any(problem["loc"][0] == "path" for problem in error.errors()):
            return envelope(None, 404, MESSAGES[404])
        fields = {
            _field(problem["loc"]): problem["msg"].removeprefix("Value error, ") for problem in error.errors()
        }
        return envelope(fields, 400, MESSAGES[400])

    @app.exception_handler(DatabaseError)
    def _not_stored(request: Request, error: DatabaseError) -> JSONResponse:
        sentence = unusable(request.app.state.service.data.state, str(error.orig))
        log.error(sentence)
        return envelope(None, 500, f"{sentence} Nothing was changed.")

    @app.exception_handler(Exception)
    def _failed(request: Request, error: Exception) -> JSONResponse:
        log.error("%s %s failed.", request.method, request.url.path, exc_info=error)
        return envelope(None, 500, f"The local dbt Cloud failed: {type(error).__name__}. Its log says more.")

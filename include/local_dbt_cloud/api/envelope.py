"""The shape of dbt Cloud's answers: an envelope around the data, also around an error."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

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


def page(items: list[Any], total: int, filters: Mapping[str, Any], order_by: str) -> JSONResponse:
    """Return one page of a list; ``filters`` holds the limit and the offset too, as clients expect."""
    pagination = {"count": len(items), "total_count": total}
    return envelope(items, extra={"filters": filters, "order_by": order_by, "pagination": pagination})


def envelope_or_404(service: Any, write: Callable[[Any, Any], Any], item: Any) -> JSONResponse:
    """Answer with an item as ``write`` writes it, or refuse with 404 if it is None."""
    if item is None:
        raise refusal(404)
    return envelope(write(service, item))


def refusal(code: int) -> HTTPException:
    """Return the exception that answers with dbt Cloud's sentence for this code."""
    return HTTPException(code)


def answer_errors_in_envelopes(app: FastAPI) -> None:
    """Make every error of an app, expected or not, an envelope."""

    @app.exception_handler(404)
    @app.exception_handler(405)
    @app.exception_handler(HTTPException)
    def _refused(request: Request, error: Any) -> JSONResponse:
        return envelope(None, error.status_code, MESSAGES.get(error.status_code) or str(error.detail))

    @app.exception_handler(RequestValidationError)
    def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        # An id in the path that is no number names nothing.
        if any(problem["loc"][0] == "path" for problem in error.errors()):
            return envelope(None, 404, MESSAGES[404])
        # Of ("body", "steps_override", 0) the field is the second.
        fields = {str(problem["loc"][:2][-1]): problem["msg"] for problem in error.errors()}
        return envelope(fields, 400, MESSAGES[400])

    @app.exception_handler(Exception)
    def _failed(request: Request, error: Exception) -> JSONResponse:
        log.error("%s %s failed.", request.method, request.url.path, exc_info=error)
        return envelope(None, 500, f"The local dbt Cloud failed: {type(error).__name__}. Its log says more.")

"""What every request passes before the endpoints see it."""

from fastapi import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from local_dbt_cloud.request_log import RequestLog

MAX_BODY_BYTES = 1_000_000
# A request to the control API may hold the artifacts of a run.
MAX_CONTROL_BODY_BYTES = 10_000_000


class IgnoreTrailingSlash:
    """Lets every path work with and without a trailing slash, without a redirect, as dbt Cloud does."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, its path without a trailing slash."""
        if scope["type"] == "http":
            scope["path"] = scope["path"].rstrip("/") or "/"
        await self.app(scope, receive, send)


class RecordRequests:
    """Records every request but those to the control API under ``/local/``."""

    def __init__(self, app: ASGIApp, requests: RequestLog) -> None:
        self.app = app
        self.requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Record a request and pass it on."""
        if scope["type"] == "http" and not scope["path"].startswith("/local/"):
            self.requests.add(scope["method"], scope["path"], scope["query_string"].decode("latin-1"))
        await self.app(scope, receive, send)


class LimitBody:
    """Stops reading a body that is larger than any that a client of dbt Cloud sends, and answers 413."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, its body counted while it is read."""
        read = 0
        control = scope["type"] == "http" and scope["path"].startswith("/local/")
        limit = MAX_CONTROL_BODY_BYTES if control else MAX_BODY_BYTES

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > limit:
                raise HTTPException(413, f"The body is larger than {limit} bytes.")
            return message

        await self.app(scope, counted, send)

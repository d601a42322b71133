"""ASGI middleware of the API: other sites, trailing slashes, recorded requests, the size limit of bodies."""

from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from local_dbt_cloud.api.envelope import envelope
from local_dbt_cloud.request_log import RequestLog

MAX_BODY_BYTES = 1_000_000
# Requests to the control API may contain artifacts.
MAX_CONTROL_BODY_BYTES = 10_000_000


class TrailingSlashMiddleware:
    """Remove trailing slashes: like dbt Cloud, serve each path with and without one, and never redirect."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Process a request."""
        if scope["type"] == "http":
            scope["path"] = scope["path"].rstrip("/") or "/"
        await self.app(scope, receive, send)


class CrossOriginMiddleware:
    """Respond with 403 to requests that a page of another site sends through a user's browser.

    The rules are those of Go's ``http.CrossOriginProtection``, but for all methods: the API serves no pages.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Process a request."""
        headers = Headers(scope=scope)
        site, origin = headers.get("sec-fetch-site", ""), headers.get("origin", "")
        has_other_origin = origin and origin.partition("://")[2] != headers.get("host")
        if site not in ("", "same-origin", "none") or (not site and has_other_origin):
            await envelope(None, 403, "The request came from a page of another site.")(scope, receive, send)
            return
        await self.app(scope, receive, send)


class RequestLogMiddleware:
    """Record all requests except those to the control API below ``/local/``."""

    def __init__(self, app: ASGIApp, requests: RequestLog) -> None:
        self.app = app
        self.requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Process a request."""
        if scope["type"] == "http" and not scope["path"].startswith("/local/"):
            self.requests.add(scope["method"], scope["path"], scope["query_string"].decode("latin-1"))
        await self.app(scope, receive, send)


class BodySizeLimitMiddleware:
    """Respond with 413 to a body that exceeds the limit, without reading the rest of it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Process a request."""
        bytes_read = 0
        is_control = scope["type"] == "http" and scope["path"].startswith("/local/")
        limit = MAX_CONTROL_BODY_BYTES if is_control else MAX_BODY_BYTES

        async def receive_within_limit() -> Message:
            nonlocal bytes_read
            message = await receive()
            bytes_read += len(message.get("body", b""))
            if bytes_read > limit:
                raise HTTPException(413, f"The request body exceeds {limit} bytes.")
            return message

        await self.app(scope, receive_within_limit, send)

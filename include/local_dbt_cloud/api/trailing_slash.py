"""Lets every path work with and without a trailing slash, without a redirect, as dbt Cloud does."""

from starlette.types import ASGIApp, Receive, Scope, Send


class IgnoreTrailingSlash:
    """ASGI middleware: the app behind it sees paths without a trailing slash."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] == "http":
            scope["path"] = scope["path"].rstrip("/") or "/"
        await self.app(scope, receive, send)

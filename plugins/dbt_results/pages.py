"""Serve the files of the pages, which hold no data.

Their JavaScript reads Airflow's REST API in the browser, as the user who is logged in, so Airflow's
own permissions apply.
"""

from pathlib import Path

from fastapi import FastAPI
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

HEADERS = {
    # Only our own files and Airflow's API; may be framed by Airflow.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    # Revalidate each file, so that a new version of the plugin is used at once.
    "Cache-Control": "no-cache",
}


class Pages(StaticFiles):
    """Static files with our headers."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file, or 404."""
        response = await super().get_response(path, scope)
        response.headers.update(HEADERS)
        return response


app = FastAPI(title="dbt results", docs_url=None, redoc_url=None, openapi_url=None)
app.mount("/", Pages(directory=Path(__file__).with_name("static")))

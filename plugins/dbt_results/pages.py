"""Serve a task instance's page to users who may read its Dag's XComs."""

import json
import secrets
from pathlib import Path
from typing import Any

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import requires_access_dag
from airflow.models.xcom import XComModel
from fastapi import Depends, FastAPI
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader

from plugins.dbt_results.timeline import draw

TEMPLATES = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
# The page may be framed by Airflow, and has its own style and script.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'nonce-{}'; frame-ancestors 'self'"

app = FastAPI(title="dbt results", docs_url=None, redoc_url=None, openapi_url=None)


@app.get("/", dependencies=[Depends(requires_access_dag("GET", DagAccessEntity.XCOM))])
def show_results(
    dag_id: str, run_id: str, task_id: str, session: SessionDep, map_index: str = "-1"
) -> HTMLResponse:
    """Show the results that the operator pushed, or why there are none."""
    # For a task that is not mapped, Airflow leaves the placeholder in place.
    index = int(map_index) if map_index.isdecimal() else -1
    results = _results(session, dag_id, run_id, task_id, index)
    timeline = draw(results["nodes"]) if results else None
    nonce = secrets.token_urlsafe(16)
    page = TEMPLATES.get_template("page.html").render(
        results=results, timeline=timeline, task_id=task_id, nonce=nonce
    )
    headers = {"Content-Security-Policy": POLICY.format(nonce), "Cache-Control": "no-store"}
    return HTMLResponse(page, headers=headers)


def _results(session: Any, dag_id: str, run_id: str, task_id: str, map_index: int) -> dict[str, Any] | None:
    query = XComModel.get_many(
        key="run_results", dag_ids=dag_id, run_id=run_id, task_ids=task_id, map_indexes=map_index, limit=1
    )
    found = session.scalars(query).first()
    value = XComModel.deserialize_value(found) if found else None
    value = json.loads(value) if isinstance(value, str) else value
    # Another operator may use the key for something else.
    return value if isinstance(value, dict) and {"nodes", "counts", "href"} <= value.keys() else None

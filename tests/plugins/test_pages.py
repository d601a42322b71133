"""Who may see the pages and their data, and what the pages may do."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow.api_fastapi.app import create_app, purge_cached_app
from airflow.utils.db import initdb
from fastapi.testclient import TestClient

from plugins.dbt_results.plugin import DbtResultsPlugin
from tests.conftest import PROJECT
from tests.plugins.airflow_server import token

PLUGINS = PROJECT / "plugins"
STATIC = PLUGINS / "dbt_results" / "static"
FILES = sorted(path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*.*"))


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    initdb()
    with TestClient(create_app(apps="core"), raise_server_exceptions=False) as client:
        yield client
    purge_cached_app()


def test_the_plugin_imports_only_airflows_plugin_interface() -> None:
    imported = set()
    for path in PLUGINS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported |= {f"{node.module}.{alias.name}" for alias in node.names}
    airflow = {name for name in imported if name.split(".")[0] == "airflow"}
    assert airflow == {"airflow.plugins_manager.AirflowPlugin"}
    assert not {name for name in imported if name.split(".")[0] in ("sqlalchemy", "sqlmodel")}


def test_only_the_public_rest_api_is_read() -> None:
    scripts = "\n".join(path.read_text() for path in STATIC.rglob("*.js"))
    assert re.findall(r"\bfetch\(", scripts) == ["fetch("]
    assert 'new URL("../api/v2/", import.meta.url)' in scripts
    assert not re.findall(r"[\"'`/]ui/|innerHTML|eval\(|document\.write", scripts)


@pytest.mark.parametrize("path", FILES)
def test_a_file_is_served_under_a_strict_policy(client: TestClient, path: str) -> None:
    # The files contain no data, so no login is needed.
    answer = client.get(f"/dbt-results/{path}")
    assert answer.status_code == 200
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'")
    assert "frame-ancestors 'self'" in policy
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    kinds = {".js": "javascript", ".css": "text/css", ".html": "text/html"}
    assert kinds[Path(path).suffix] in answer.headers["Content-Type"]


def test_pages_have_no_inline_script_or_style() -> None:
    for page in STATIC.glob("*.html"):
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=|//", page.read_text())


def test_other_paths_are_not_found(client: TestClient) -> None:
    for path in ("", "docs", "openapi.json", "%2e%2e/plugin.py", "view/"):
        assert client.get(f"/dbt-results/{path}").status_code == 404


def test_without_permission_airflow_gives_no_data(client: TestClient) -> None:
    path = "/api/v2/dags/a_dag/dagRuns/a_run/taskInstances/a_task/state-store"
    assert client.get(path).status_code == 401
    assert client.get(path, headers={"Authorization": f"Bearer {token(None)}"}).status_code == 403


def test_every_tab_leads_to_a_page_by_a_relative_address() -> None:
    (app,) = DbtResultsPlugin.fastapi_apps
    for view in DbtResultsPlugin.external_views:
        page = view["href"].partition("?")[0]
        assert page.startswith(f"{app['url_prefix'].strip('/')}/")
        assert (STATIC / page.partition("/")[2]).is_file()

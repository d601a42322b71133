"""Who may see the tab's page, and what it says without results. Real results are seen in a real Airflow."""

from collections.abc import Iterator

import pytest
from airflow.api_fastapi.app import create_app, get_auth_manager, purge_cached_app
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from fastapi.testclient import TestClient

PAGE = "/dbt-results/?dag_id=a_dag&run_id=a_run&task_id=a_task&map_index={MAP_INDEX}"


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    from airflow.utils.db import initdb

    initdb()
    with TestClient(create_app(apps="core"), raise_server_exceptions=False) as client:
        yield client
    purge_cached_app()


def token(role: str | None) -> dict[str, str]:
    user = SimpleAuthManagerUser(username=role or "nobody", role=role)
    return {"Authorization": f"Bearer {get_auth_manager().generate_jwt(user)}"}


def test_without_a_login_nothing_is_shown(client: TestClient) -> None:
    assert client.get(PAGE).status_code == 401
    assert client.get(PAGE, headers={"Authorization": "Bearer made-up"}).status_code == 403


def test_who_may_not_read_the_dag_is_refused(client: TestClient) -> None:
    assert client.get(PAGE, headers=token(None)).status_code == 403


def test_who_may_read_it_learns_why_there_is_nothing(client: TestClient) -> None:
    answer = client.get(PAGE, headers=token("VIEWER"))
    assert answer.status_code == 200
    assert "They appear here when the task's dbt Cloud run has ended" in answer.text
    assert "frame-ancestors 'self'" in answer.headers["Content-Security-Policy"]


def test_the_pages_are_all_there_is(client: TestClient) -> None:
    for path in ("/dbt-results/docs", "/dbt-results/openapi.json"):
        assert client.get(path, headers=token("ADMIN")).status_code == 404


def test_names_are_shown_as_text(client: TestClient) -> None:
    page = client.get(PAGE.replace("a_task", "<script>alert(1)</script>"), headers=token("VIEWER")).text
    assert "<script>alert" not in page

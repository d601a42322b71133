"""Airflow's real API server and UI in this process, with task instances in the state that a test needs."""

import contextlib
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from airflow.api_fastapi.app import create_app, get_auth_manager, purge_cached_app
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
from airflow.models.dagbundle import DagBundleModel
from airflow.models.taskinstance import TaskInstance
from airflow.utils.db import initdb
from airflow.utils.session import create_session
from sqlalchemy import delete, update
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.waiting import wait_until

DAG_ID = "dbt_pages"
DAGS = Path(__file__).with_name("dags")
BUNDLE = "dags-folder"
BASE_PATH = "/team/airflow"


class AirflowServer:
    """A client of the server that can also change the state in its database.

    :param url: Base URL; ``BASE_PATH`` may follow it.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = httpx.Client(
            base_url=f"{url}/api/v2/dags/{DAG_ID}/",
            headers={"Authorization": f"Bearer {token('ADMIN')}"},
            trust_env=False,
            timeout=30,
        )

    def add_dag_run(self, after: datetime | None = None) -> str:
        """Add a Dag run without starting it; return its id."""
        run_id = f"run_{uuid.uuid4().hex[:12]}"
        after = after or datetime.now(UTC)
        fields = {"dag_run_id": run_id, "logical_date": after.isoformat(), "run_after": after.isoformat()}
        self.client.post("dagRuns", json=fields).raise_for_status()
        return run_id

    def set_state(self, run_id: str, state: str | None, task_id: str = "run_dbt", **fields: Any) -> None:
        """Set the state of a task instance, and other columns."""
        start = datetime.now(UTC) - timedelta(seconds=90)
        values = {"state": state, "try_number": 1, "max_tries": 2, "start_date": start} | fields
        with create_session() as session:
            where = (TaskInstance.run_id == run_id, TaskInstance.task_id == task_id)
            session.execute(update(TaskInstance).where(*where).values(values))

    def keep_record(
        self, run_id: str, record: dict[str, Any], task_id: str = "run_dbt", index: int = -1
    ) -> None:
        """Keep the record of a dbt run in the task state store, as the operator does."""
        key = f"dbt_cloud_run_{record['run_id']}"
        path = f"dagRuns/{run_id}/taskInstances/{task_id}/state-store/{key}"
        self.client.put(path, params={"map_index": index}, json={"value": record}).raise_for_status()

    def push_results(
        self, run_id: str, results: dict[str, Any], task_id: str = "run_dbt", index: int = -1
    ) -> None:
        """Push the results of a dbt run as an XCom, as the operator does."""
        body = {"key": "run_results", "value": results, "map_index": index}
        path = f"dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries"
        self.client.post(path, json=body).raise_for_status()

    def reset(self) -> None:
        """Delete all Dag runs, with all that belongs to them."""
        from airflow.models.dagrun import DagRun

        with create_session() as session:
            session.execute(delete(DagRun))

    def task_page(self, run_id: str, task_id: str = "run_dbt", map_index: int | str = "{MAP_INDEX}") -> str:
        """Return the address of the page of a task instance."""
        query = httpx.QueryParams(dag_id=DAG_ID, run_id=run_id, task_id=task_id, map_index=map_index)
        return f"{self.url}/dbt-results/task.html?{query}"

    @property
    def history_page(self) -> str:
        """The address of the page of the Dag."""
        return f"{self.url}/dbt-results/history.html?dag_id={DAG_ID}"


def token(role: str | None) -> str:
    """Return a session token of a user with a role; None is a user without permissions."""
    user = SimpleAuthManagerUser(username=role or "nobody", role=role)
    return get_auth_manager().generate_jwt(user)


@contextlib.contextmanager
def serve_airflow() -> Iterator[AirflowServer]:
    """Serve Airflow on a free port while the block runs, also below ``BASE_PATH``."""
    initdb()
    with create_session() as session:
        session.merge(DagBundleModel(name=BUNDLE))
    sync_bag_to_db(DagBag(DAGS, bundle_path=DAGS, bundle_name=BUNDLE), BUNDLE, None)
    app = create_app(apps="core")
    served = Starlette(routes=[Mount(BASE_PATH, app), Mount("", app)])
    server = uvicorn.Server(uvicorn.Config(served, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started, 60)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield AirflowServer(f"http://127.0.0.1:{port}")
    finally:
        server.should_exit = True
        thread.join()
        purge_cached_app()

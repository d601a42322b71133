"""A local dbt Cloud for tests: served over real TLS from a thread, its insides within reach."""

import asyncio
import shutil
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import text

from include.local_dbt_cloud.__main__ import ACCOUNT_FILE
from include.local_dbt_cloud.files import DataDirectory
from include.local_dbt_cloud.jobs import declare_jobs
from include.local_dbt_cloud.server import serve
from include.local_dbt_cloud.service import Service, open_service
from include.local_dbt_cloud.store import Base, Run, RunStatus
from include.local_dbt_cloud.trigger import TriggerRequest
from tests import openapi
from tests.conftest import TEST_HOME

TOKEN = "local-token"


@dataclass
class RunningCloud:
    """A local dbt Cloud that runs, and a client of its account."""

    service: Service
    api_port: int
    client: httpx.Client

    @property
    def api_url(self) -> str:
        """Where the API is."""
        return f"https://localhost:{self.api_port}"

    def get(self, path: str, **params: Any) -> Any:
        """Get the data of an answer that must be good."""
        return self._data(self.client.get(path, params=params))

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Post and get the data of an answer that must be good."""
        return self._data(self.client.post(path, json=body))

    def trigger(self, job_id: int, **body: Any) -> dict[str, Any]:
        """Trigger a run."""
        return self.post(f"jobs/{job_id}/run/", {"cause": "a test", **body})

    def cancel(self, run_id: int) -> dict[str, Any]:
        """Cancel a run."""
        return self.post(f"runs/{run_id}/cancel/")

    def wait(
        self, run_id: int, until: Callable[[dict[str, Any]], bool] = lambda run: run["is_complete"]
    ) -> dict[str, Any]:
        """Wait for a run, by default for its end; answer with the run, its trigger and its steps."""
        end = time.monotonic() + 120
        while not until(run := self.get(f"runs/{run_id}/", include_related="run_steps,trigger,debug_logs")):
            assert not run["is_complete"], f"run {run_id} has ended: {run['status_message']}"
            assert time.monotonic() < end, f"run {run_id} is still {run['status_humanized']}"
            time.sleep(0.1)
        return run

    def add_run(self, status: RunStatus = RunStatus.SUCCESS, job_id: int = 101, **fields: Any) -> int:
        """Store a run that nothing carries out."""
        usual = {
            "job_definition_id": job_id,
            "project_id": 1,
            "environment_id": 1,
            "status": status,
            "dbt_version": "1.11.0",
            "trigger": TriggerRequest(cause="a test").model_dump(),
        }
        with self.service.sessions.begin() as session:
            run = Run(**usual | fields)
            session.add(run)
        return run.id

    def reset(self) -> None:
        """Forget all that happened, so that the next test finds what a new one would be."""
        self.service.faults.clear()
        for run in self.get("runs/", status__in="[1,2,3]"):
            self.cancel(run["id"])
        with self.service.sessions.begin() as session:
            for table in reversed(Base.metadata.sorted_tables):
                session.execute(table.delete())
            session.execute(text("DELETE FROM sqlite_sequence"))
        with self.service.sessions.begin() as session:
            declare_jobs(session, self.service.declaration)
        shutil.rmtree(self.service.data.runs, ignore_errors=True)

    @staticmethod
    def _data(answer: httpx.Response) -> Any:
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]


@contextmanager
def running_cloud(
    directory: Path, account_file: Path = ACCOUNT_FILE, history: int = 0
) -> Iterator[RunningCloud]:
    """Run a local dbt Cloud while the block runs; what it made is kept in the directory."""
    data = DataDirectory(directory)
    # The certificates that this process trusts since its start.
    shutil.copytree(TEST_HOME / "certificates", directory, dirs_exist_ok=True)
    with (
        socket.create_server(("127.0.0.1", 0)) as api_socket,
        socket.create_server(("127.0.0.1", 0)) as pages_socket,
    ):
        api_port = api_socket.getsockname()[1]
        pages_url = f"http://localhost:{pages_socket.getsockname()[1]}"
        service = open_service(account_file, data, pages_url, TOKEN, history)
        loop, stop = asyncio.new_event_loop(), asyncio.Event()
        thread = threading.Thread(
            target=loop.run_until_complete, args=[serve(service, api_socket, pages_socket, stop)]
        )
        thread.start()
        client = httpx.Client(
            base_url=f"https://localhost:{api_port}/api/v2/accounts/1/",
            headers={"Authorization": f"Token {TOKEN}"},
            verify=ssl.create_default_context(cafile=str(data.ca_bundle)),
            trust_env=False,
            timeout=30,
            event_hooks={"response": [openapi.check]},
        )
        try:
            yield RunningCloud(service, api_port, client)
        finally:
            client.close()
            loop.call_soon_threadsafe(stop.set)
            thread.join()
            loop.close()

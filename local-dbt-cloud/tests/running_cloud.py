"""A local dbt Cloud in a thread of the test process, with access to its service."""

import asyncio
import shutil
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import openapi
from local_dbt_cloud.cli import DEMO_ACCOUNT
from local_dbt_cloud.data_directory import DataDirectory
from local_dbt_cloud.database import Run, RunStep
from local_dbt_cloud.run_status import RunStatus
from local_dbt_cloud.server import serve
from local_dbt_cloud.service import Service, create_service
from local_dbt_cloud.testing import TOKEN, LocalDbtCloud, certificates
from local_dbt_cloud.trigger_request import TriggerRequest


def ids(objects: list[dict[str, Any]]) -> list[int]:
    """Return the IDs of objects of the API."""
    return [item["id"] for item in objects]


class RunningCloud(LocalDbtCloud):
    """A local dbt Cloud with its service. All responses are validated against the OpenAPI files."""

    def __init__(self, service: Service, api_port: int, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(f"https://localhost:{api_port}", service.pages_url, service.data.root, service.token)
        self.service = service
        self.api_port = api_port
        self.loop = loop
        self.client.event_hooks = {"response": [openapi.check]}

    def add_run(self, status: RunStatus = RunStatus.SUCCESS, job_id: int = 101, **fields: Any) -> int:
        """Store a run with any columns, including combinations that the API cannot create."""
        defaults = {
            "job_definition_id": job_id,
            "project_id": 1,
            "environment_id": 1,
            "status": status,
            "dbt_version": "1.11.0",
            "trigger": TriggerRequest(cause="a test").model_dump(),
        }
        with self.service.sessions.begin() as session:
            run = Run(**defaults | fields)
            session.add(run)
        return run.id

    def add_step(
        self, run_id: int, index: int = 1, name: str = "dbt", log: str = "",
        artifacts: Mapping[str, str] = MappingProxyType({}), **fields: Any,
    ) -> int:  # fmt: skip
        """Store a step of a run with its log and artifacts, and return its ID."""
        target = self.service.data.artifacts(run_id, index)
        target.mkdir(parents=True)
        self.service.data.step_log(run_id, index).write_text(log)
        for path, text in artifacts.items():
            (target / path).write_text(text)
        with self.service.sessions.begin() as session:
            step = RunStep(run_id=run_id, index=index, name=name, **{"status": RunStatus.ERROR} | fields)
            session.add(step)
        return step.id


@contextmanager
def running_cloud(
    directory: Path, account_file: Path = DEMO_ACCOUNT, history: int = 0
) -> Iterator[RunningCloud]:
    """Run a local dbt Cloud while the block runs; the data directory is kept."""
    # This process trusts only these certificates.
    shutil.copytree(certificates(), directory, dirs_exist_ok=True)
    with (
        socket.create_server(("127.0.0.1", 0)) as api_socket,
        socket.create_server(("127.0.0.1", 0)) as pages_socket,
    ):
        api_port = api_socket.getsockname()[1]
        pages_url = f"http://localhost:{pages_socket.getsockname()[1]}"
        service = create_service(account_file, DataDirectory(directory), pages_url, TOKEN, history)
        loop, stop = asyncio.new_event_loop(), asyncio.Event()
        thread = threading.Thread(
            target=loop.run_until_complete, args=[serve(service, api_socket, pages_socket, stop)]
        )
        thread.start()
        try:
            cloud = RunningCloud(service, api_port, loop)
            try:
                yield cloud
            finally:
                cloud.close()
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join()
            loop.close()

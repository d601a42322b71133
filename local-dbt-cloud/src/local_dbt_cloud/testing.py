"""Run a local dbt Cloud in tests, and control its runs. Needs the extra ``pytest``."""

import atexit
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

import httpx

from local_dbt_cloud.certificates import prepare_certificates
from local_dbt_cloud.client_environment import airflow_connection, trusted_authorities
from local_dbt_cloud.data_directory import DataDirectory
from local_dbt_cloud.run_status import RunStatus

FinalStatus = Literal["success", "error", "cancelled"]
Status = Literal["queued", "starting", "running", FinalStatus]
TOKEN = "local-token"  # noqa: S105 - the public default of the emulator
CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
TRUSTED_BEFORE = "CA_BEFORE_LOCAL_DBT_CLOUD"
# Seconds.
START_TIMEOUT = 60
STOP_TIMEOUT = 15


@cache
def certificates() -> Path:
    """Return a directory with certificates for this process, created on first use and deleted at exit."""
    directory = Path(tempfile.mkdtemp(prefix="local-dbt-cloud-certificates-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    prepare_certificates(DataDirectory(directory))
    return directory


def trust_ca() -> None:
    """Make this process and its children trust the local dbt Cloud over TLS, and nothing else.

    Call it in ``pytest_configure`` of your ``conftest.py``, because aiohttp reads ``SSL_CERT_FILE`` when it
    is imported. Public certificate authorities are not trusted, so that no test can reach a real dbt Cloud.
    """
    # If a child process calls this too, the authorities that were trusted first are kept.
    os.environ.setdefault(TRUSTED_BEFORE, json.dumps({name: os.environ.get(name) for name in CA_VARIABLES}))
    for name in CA_VARIABLES:
        os.environ[name] = str(DataDirectory(certificates()).ca_certificate)


def environment_before_trust_ca() -> dict[str, str]:
    """Return the environment with the authorities that were trusted before ``trust_ca``.

    For a child process that connects to public servers, such as an installer.
    """
    environment = dict(os.environ)
    for name, value in json.loads(environment.pop(TRUSTED_BEFORE, "{}")).items():
        environment.pop(name, None)
        if value is not None:
            environment[name] = value
    return environment


def course(
    status: FinalStatus | None = None,
    *,
    message: str | None = None,
    results: Mapping[str, str] | None = None,
    artifacts: Mapping[str, Any] | None = None,
    command: str = "dbt build",
    queued: float = 0,
    starting: float = 0,
    running: float = 0,
) -> dict[str, Any]:
    """Return the course of a simulated run.

    :param status: Final status; by default ``error`` if a result is ``error`` or ``fail``, else ``success``.
    :param message: ``status_message`` of the run.
    :param results: Status of each node in run_results.json, by its ``unique_id``.
    :param artifacts: Further artifacts as JSON, by path.
    :param command: Step that writes the artifacts.
    :param queued: Seconds in this status.
    :param starting: Seconds in this status.
    :param running: Seconds in this status.
    """
    results = results or {}
    status = status or ("error" if {"error", "fail"} & set(results.values()) else "success")
    files = {"run_results.json": run_results(results), **(artifacts or {})}
    step = {"command": command, "status": status, "artifacts": files}
    seconds = {"queued": queued, "starting": starting, "running": running}
    return {"status": status, "status_message": message, "steps": [step], **seconds}


def run_results(results: Mapping[str, str]) -> dict[str, Any]:
    """Return a run_results.json with the status of each node, by its ``unique_id``."""
    return {
        "metadata": {
            "dbt_schema_version": "https://schemas.getdbt.com/dbt/run-results/v6.json",
            "generated_at": datetime.now(UTC).isoformat(),
            "env": {},
        },
        "results": [
            {
                "unique_id": unique_id,
                "status": status,
                "timing": [],
                "thread_id": "Thread-1",
                "execution_time": 0.0,
                "adapter_response": {},
                "message": None,
                "failures": None,
                "compiled": None,
                "compiled_code": None,
                "relation_name": None,
                "batch_results": None,
            }
            for unique_id, status in results.items()
        ],
        "elapsed_time": 0.0,
        "args": {},
    }


class LocalDbtCloud:
    """A client of a running local dbt Cloud, for its Administrative API and its control API.

    :param url: Address of the API, such as ``https://localhost:8580``.
    :param pages_url: Address of the pages.
    :param data_dir: Data directory, with its certificates.
    :param token: API token.
    """

    def __init__(self, url: str, pages_url: str, data_dir: Path, token: str = TOKEN) -> None:
        self.url = url
        self.pages_url = pages_url
        self.data_dir = data_dir
        self.token = token
        self._http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Token {token}"},
            verify=ssl.create_default_context(cafile=str(DataDirectory(data_dir).ca_certificate)),
            trust_env=False,
            timeout=30,
        )

    @property
    def host(self) -> str:
        """Host and port of the API, for the ``host`` of an Airflow connection."""
        return self.url.removeprefix("https://")

    @property
    def ca_bundle(self) -> Path:
        """PEM file with its certificate authority and the public ones."""
        return DataDirectory(self.data_dir).ca_bundle

    @property
    def connection(self) -> str:
        """Airflow connection as JSON, for ``AIRFLOW_CONN_...``."""
        return airflow_connection(self.url, self.token, self.account_id)

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that make a child process trust its certificate."""
        return trusted_authorities(self.ca_bundle)

    @cached_property
    def account_id(self) -> int:
        """ID of the account."""
        return self._data(self._http.get("/api/v2/accounts/"))[0]["id"]

    @cached_property
    def client(self) -> httpx.Client:
        """HTTP client with the token, below ``/api/v2/accounts/{account_id}/``."""
        self._http.base_url = httpx.URL(f"{self.url}/api/v2/accounts/{self.account_id}/")
        return self._http

    # The Administrative API: faults apply, and requests are recorded.

    def get(self, path: str, **params: Any) -> Any:
        """GET a path of the account and return ``data``; raise ``httpx.HTTPStatusError`` on an error."""
        return self._data(self.client.get(path, params=params))

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """POST to a path of the account and return ``data``; raise ``httpx.HTTPStatusError`` on an error."""
        return self._data(self.client.post(path, json=body))

    def trigger(self, job_id: int, **body: Any) -> dict[str, Any]:
        """Trigger a run of a job and return it; ``body`` as in dbt Cloud's API."""
        return self.post(f"jobs/{job_id}/run/", {"cause": "Triggered by a test", **body})

    def cancel(self, run_id: int) -> dict[str, Any]:
        """Cancel a run as a user does, and return it."""
        return self.post(f"runs/{run_id}/cancel/")

    def wait(
        self,
        run_id: int,
        until: Callable[[dict[str, Any]], bool] = lambda run: run["is_complete"],
        timeout: float = 120,
    ) -> dict[str, Any]:
        """Wait until a run meets a condition, by default until it has ended, and return it with its steps.

        :param until: Condition on the run as the API returns it.
        :param timeout: Seconds to wait.
        :raises RuntimeError: The run ended and does not meet the condition.
        :raises TimeoutError: The condition is not met in time.
        """
        deadline = time.monotonic() + timeout
        while not until(run := self.get(f"runs/{run_id}/", include_related="run_steps,trigger,debug_logs")):
            if run["is_complete"]:
                raise RuntimeError(
                    f"Run {run_id} ended: {run['status_humanized']}. {run['status_message'] or ''}"
                )
            if time.monotonic() > deadline:
                raise TimeoutError(f"Run {run_id} is still {run['status_humanized']} after {timeout:g} s.")
            time.sleep(0.1)
        return run

    # The control API: faults do not apply, and requests are not recorded.

    def pause(self) -> None:
        """Keep triggered runs queued, so that tests can set their status with ``set_run``."""
        self._control("POST", "scheduler", {"paused": True})

    def resume(self) -> None:
        """Execute queued runs again."""
        self._control("POST", "scheduler", {"paused": False})

    def create_run(self, status: Status = "success", *, job_id: int = 101, **fields: Any) -> int:
        """Create a run that dbt never executes, and return its ID.

        :param fields: ``status_message``, ``cause``, ``created_at`` (by default in UTC), ``dbt_version``, and
            ``steps``, each ``{"command": "dbt build", "artifacts": {"run_results.json": {...}}}``.
        """
        body = {"status": RunStatus[status.upper()], "job_id": job_id, **fields}
        return self._control("POST", "runs", body)["id"]

    def add_job(
        self, name: str, *courses: dict[str, Any], environment_id: int | None = None, **fields: Any
    ) -> int:
        """Create a job and return its ID.

        :param courses: Courses of its runs as returned by ``course``, to simulate the job.
        :param environment_id: Environment of the job; the first one if omitted.
        :param fields: Further fields of dbt Cloud's API, such as ``execute_steps``.
        """
        if environment_id is None:
            if not (environments := self.get("environments/")):
                raise ValueError("The account has no environment: create one first.")
            environment_id = environments[0]["id"]
        body = {"name": name, "environment_id": environment_id, "execute_steps": ["dbt build"], **fields}
        job_id = self.post("jobs/", body)["id"]
        if courses:
            self.simulate(job_id, *courses)
        return job_id

    def simulate(self, job_id: int, *courses: dict[str, Any]) -> None:
        """Simulate the runs of a job from now on: dbt does not execute them.

        :param courses: A course for each run in order, as returned by ``course``; the last one repeats.
        """
        self._control("POST", f"jobs/{job_id}/simulation", list(courses) or [course()])

    def set_run(
        self,
        run_id: int,
        status: Status,
        message: str | None = None,
        steps: list[dict[str, Any]] | None = None,
        *,
        only_if_active: bool = False,
    ) -> None:
        """Set the status of a run. dbt never executes it afterwards.

        :param message: ``status_message`` of the run.
        :param steps: Finished steps with their artifacts, as in ``create_run``.
        :param only_if_active: Do not change the run if it has ended, for example because it was just
            canceled.
        """
        body = {"status": RunStatus[status.upper()], "status_message": message, "steps": steps or []}
        self._control("POST", f"runs/{run_id}", body | {"only_if_active": only_if_active})

    def end_active_runs(self, status: Status = "success", message: str | None = None, **more: Any) -> None:
        """End every run that is queued, starting or running."""
        for run in self.runs():
            if run["in_progress"]:
                # Its status may change between the two requests.
                self.set_run(run["id"], status, message, **more, only_if_active=True)

    def runs(self, job_id: int | None = None) -> list[dict[str, Any]]:
        """Return all runs with their triggers and steps, oldest first."""
        return self._control("GET", "runs" if job_id is None else f"runs?job_id={job_id}")

    def add_fault(self, path: str, **fault: Any) -> int:
        """Inject a fault into requests whose path matches, and return its ID.

        :param path: Regular expression, searched for in the path without its trailing slash.
        :param fault: As in the README's "Faults on demand": ``status``, ``drop``, ``delay``, ``times`` ...
        """
        return self._control("POST", "faults", {"path": path, **fault})["id"]

    def faults(self) -> list[dict[str, Any]]:
        """Return the active faults; ``times`` is how many more requests each applies to."""
        return self._control("GET", "faults")

    def clear_faults(self) -> None:
        """Remove all faults."""
        self._control("DELETE", "faults")

    def requests(self) -> list[dict[str, str]]:
        """Return ``method``, ``path``, ``query`` and ``received_at`` of each request since the last reset."""
        return self._control("GET", "requests")

    def clear_requests(self) -> None:
        """Delete the recorded requests."""
        self._control("DELETE", "requests")

    def reset(self) -> None:
        """Delete runs, faults and recorded requests, and restore the declared jobs."""
        self._control("POST", "reset")

    def close(self) -> None:
        """Close the client's connections. The local dbt Cloud keeps running."""
        self._http.close()

    def _control(self, method: str, path: str, body: Any = None) -> Any:
        return self._data(self.client.request(method, f"{self.url}/local/{path}", json=body))

    @staticmethod
    def _data(response: httpx.Response) -> Any:
        if response.is_error:
            message = f"{response.request.method} {response.url}: {response.status_code} {response.text}"
            raise httpx.HTTPStatusError(message, request=response.request, response=response)
        return response.json()["data"]


@contextmanager
def serve(
    data_dir: Path, account: Path | Mapping[str, Any] | None = None, *, token: str = TOKEN, history: int = 0
) -> Iterator[LocalDbtCloud]:
    """Run a local dbt Cloud in a subprocess on free ports while the block runs.

    :param data_dir: Data directory, created if it is missing.
    :param account: Account file, or its contents; the demo account if omitted.
    :param token: API token that it accepts.
    :param history: Number of finished runs to generate first.
    :raises RuntimeError: It failed to start; the message contains its output.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    # A data directory of an earlier process has its own certificates.
    if not DataDirectory(data_dir).ca_certificate.exists():
        shutil.copytree(certificates(), data_dir, dirs_exist_ok=True)
    if isinstance(account, Mapping):
        contents, account = account, data_dir / "account.yaml"
        # JSON is YAML.
        account.write_text(json.dumps(contents), encoding="utf-8")
    command = [sys.executable, "-m", "local_dbt_cloud", "--api-port", "0", "--pages-port", "0"]
    command += ["--data-dir", str(data_dir), "--history", str(history)]
    command += ["--account", str(account.resolve())] if account else []
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("LOCAL_DBT_CLOUD_")}
    log = data_dir / "local_dbt_cloud.log"
    with (
        log.open("wb") as stderr,
        subprocess.Popen(
            command, cwd=data_dir, env=inherited | {"LOCAL_DBT_CLOUD_TOKEN": token}, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr,
        ) as process,
    ):  # fmt: skip
        try:
            url, pages_url = _read_addresses(process, log)
            cloud = LocalDbtCloud(url, pages_url, data_dir, token)
            try:
                # Creating the client requests the account. Tests must see only their own requests.
                cloud.clear_requests()
                yield cloud
            finally:
                cloud.close()
        finally:
            _stop(process)


def _read_addresses(process: subprocess.Popen[str], log: Path) -> tuple[str, str]:
    """Wait until the command prints its addresses, and return those of the API and of the pages."""
    assert process.stdout is not None
    # Empty if the process exits first.
    line = process.stdout.readline()
    addresses = re.search(r"API (\S+), pages (\S+), data", line)
    if addresses is None:
        process.wait(START_TIMEOUT)
        raise RuntimeError(f"The local dbt Cloud did not start: {log.read_text().strip() or line}")
    return addresses[1], addresses[2]


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

"""A local dbt Cloud to measure against: with jobs of its own, a history, and a count of its requests."""

import contextlib
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import yaml

from scripts.failure import Failure
from scripts.processes import running, wait_until
from scripts.settings import PROJECT, Settings

DBT_PROJECT = Path(__file__).parent / "dbt_project"
JOB_ID = 1
# More requests than any measurement makes.
MANY = 10**9
RUNNING = 3


class DbtCloud:
    """The local dbt Cloud while it runs."""

    def __init__(self, settings: Settings, process_id: int) -> None:
        self._process = psutil.Process(process_id)
        self._client = httpx.Client(
            base_url=f"https://localhost:{settings.api_port}",
            headers={"Authorization": f"Token {settings.connection.token}"},
            verify=ssl.create_default_context(cafile=str(settings.ca_bundle)),
            trust_env=False,
            timeout=60,
        )

    @contextlib.contextmanager
    def counting(self, freeze: bool = False) -> Iterator[list[int]]:
        """Count the requests for runs while the block runs; the list holds their number after it.

        :param freeze: whether all runs look as if they were running, for ever.
        """
        # A fault that is no trouble: each request that meets it takes one off what it has left.
        effect = {"run_status": RUNNING} if freeze else {"delay": 0}
        answer = self._client.post("/local/faults", json={"path": "/runs", "times": MANY, **effect})
        number = answer.raise_for_status().json()["data"]["id"]
        counted: list[int] = []
        yield counted
        faults = self._client.get("/local/faults").raise_for_status().json()["data"]
        counted.append(MANY - next(fault["times"] for fault in faults if fault["id"] == number))
        self._client.delete(f"/local/faults/{number}").raise_for_status()

    def ended_at(self, job_id: int) -> str | None:
        """Return when a job's newest run ended, in ISO 8601; None if it has not, or there is none."""
        query = {"job_definition_id": job_id, "order_by": "-id", "limit": 1}
        answer = self._client.get("/api/v2/accounts/1/runs/", params=query)
        runs = answer.raise_for_status().json()["data"]
        if runs and runs[0]["status_humanized"] in ("Error", "Cancelled"):
            raise Failure(f"Run {runs[0]['id']} of the benchmark ended badly: {runs[0]['status_message']}")
        return runs[0]["finished_at"] if runs else None

    @property
    def megabytes(self) -> float:
        """The memory of the process."""
        return self._process.memory_info().rss / 1e6


@contextlib.contextmanager
def local_dbt_cloud(
    settings: Settings, history: int = 0, job_ids: list[int] | None = None
) -> Iterator[DbtCloud]:
    """Run a local dbt Cloud while the block runs, with at least so many finished runs.

    :raises Failure: it does not start; says why.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    account = settings.data_dir.with_name("account.yaml")
    account.write_text(yaml.safe_dump(_account(job_ids or [JOB_ID])), encoding="utf-8")
    log = settings.data_dir.with_name("local_dbt_cloud.log")
    command = [
        sys.executable, "-m", "local_dbt_cloud", "--api-port", str(settings.api_port),
        "--pages-port", str(settings.pages_port), "--data-dir", str(settings.data_dir),
        "--account", str(account), "--history", str(history),
    ]  # fmt: skip

    def answers() -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"http://localhost:{settings.pages_port}/", trust_env=False).is_success
        return False

    with running(command, settings.environment, PROJECT, log) as process:
        wait_until(answers, "The local dbt Cloud", process, log, 180)
        yield DbtCloud(settings, process.pid)


def _account(job_ids: list[int]) -> dict[str, object]:
    """Return an account whose jobs run side by side.

    Each has a database of its own: DuckDB lets one process write.
    """
    return {
        "account": {"id": 1, "name": "Benchmark", "run_slots": len(job_ids)},
        "projects": [{"id": 1, "name": "Benchmark", "directory": str(DBT_PROJECT)}],
        "environments": [
            {
                "id": job_id,
                "project_id": 1,
                "name": f"{job_id}",
                "database": f"{job_id}.duckdb",
                "schema": "prod",
            }
            for job_id in job_ids
        ],
        "jobs": [
            {"id": job_id, "environment_id": job_id, "name": f"Job {job_id}", "execute_steps": ["dbt run"]}
            for job_id in job_ids
        ],
    }

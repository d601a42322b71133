"""The few calls of dbt Cloud's API that the commands need, to a real account and to the local one alike."""

import ssl
from pathlib import Path
from typing import Any

import httpx

from scripts.settings import Connection

# Queued, starting, running.
ACTIVE_STATUSES = (1, 2, 3)


class DbtCloudApi:
    """A client of one account."""

    def __init__(self, connection: Connection, ca_bundle: Path | None = None) -> None:
        self._client = httpx.Client(
            base_url=connection.api,
            headers={"Authorization": f"Token {connection.token}"},
            verify=ssl.create_default_context(cafile=str(ca_bundle)) if ca_bundle else True,
            trust_env=ca_bundle is None,
            timeout=30,
        )

    def try_get(self, path: str) -> int | str:
        """Ask for something in the account; return the status of the answer, or why there was none."""
        try:
            return self._client.get(path).status_code
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return str(error)

    def trigger_job_run(self, job_id: str, cause: str) -> dict[str, Any]:
        """Start a run of a job."""
        return self._data(self._client.post(f"/jobs/{job_id}/run/", json={"cause": cause}))

    def get_run(self, run_id: int) -> dict[str, Any]:
        """Return a run with its trigger and its steps."""
        return self._data(
            self._client.get(f"/runs/{run_id}/", params={"include_related": "run_steps,trigger"})
        )

    def last_run_id(self, job_id: str) -> int:
        """Return the id of the job's newest run, 0 if it never ran."""
        runs = self.runs_after(0, job_id, order_by="-id", limit=1)
        return runs[0]["id"] if runs else 0

    def runs_after(self, run_id: int, job_id: str, **more: Any) -> list[dict[str, Any]]:
        """Return the job's runs that are newer than a run, at most 100."""
        query = {"job_definition_id": job_id, "id__gt": run_id, **more}
        return self._data(self._client.get("/runs/", params=query))

    def active_runs(self, job_id: str) -> list[dict[str, Any]]:
        """Return the job's runs that are queued, starting or running."""
        return self.runs_after(0, job_id, status__in=str(list(ACTIVE_STATUSES)))

    def count_results(self, run_id: int) -> dict[str, int]:
        """Return how many nodes of each type the run's last step built: ``{"model": 16, "test": 63}``."""
        answer = self._client.get(f"/runs/{run_id}/artifacts/run_results.json")
        counts: dict[str, int] = {}
        if answer.status_code == 200:
            for result in answer.json()["results"]:
                kind = result["unique_id"].split(".")[0]
                counts[kind] = counts.get(kind, 0) + 1
        return counts

    @staticmethod
    def _data(answer: httpx.Response) -> Any:
        return answer.raise_for_status().json()["data"]

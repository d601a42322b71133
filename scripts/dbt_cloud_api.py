"""Client of dbt Cloud's Administrative API, for real accounts and the local dbt Cloud."""

import ssl
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from scripts.settings import Connection

# Queued, starting, running.
ACTIVE_STATUSES = (1, 2, 3)


class DbtCloudApi:
    """A client of one account.

    :param ca_bundle: Certificates of the local dbt Cloud; the system's if omitted.
    """

    def __init__(self, connection: Connection, ca_bundle: Path | None = None) -> None:
        self._client = httpx.Client(
            base_url=connection.api_url,
            headers={"Authorization": f"Token {connection.token}"},
            verify=ssl.create_default_context(cafile=str(ca_bundle)) if ca_bundle else True,
            trust_env=ca_bundle is None,
            timeout=30,
        )

    def get_status_code(self, path: str) -> int | str:
        """Request a path of the account; return the HTTP status, or the reason why there was no response."""
        try:
            return self._client.get(path).status_code
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return str(error)

    def trigger_job_run(self, job_id: str, cause: str) -> dict[str, Any]:
        """Start a run of a job."""
        return self._data(self._client.post(f"/jobs/{job_id}/run/", json={"cause": cause}))

    def get_run(self, run_id: int) -> dict[str, Any]:
        """Return a run with its trigger and its steps."""
        return self._get(f"/runs/{run_id}/", include_related="run_steps,trigger")

    def get_newest_run_id(self, job_id: str) -> int:
        """Return the ID of the job's newest run; 0 if it never ran."""
        runs = self.list_runs(job_id, order_by="-id", limit=1)
        return runs[0]["id"] if runs else 0

    def list_runs(self, job_id: str, after: int = 0, **query: Any) -> list[dict[str, Any]]:
        """Return up to 100 runs of a job.

        :param after: Only runs with a higher ID.
        """
        return self._get("/runs/", job_definition_id=job_id, id__gt=after, **query)

    def list_active_runs(self, job_id: str) -> list[dict[str, Any]]:
        """Return the job's runs that are queued, starting or running."""
        return self.list_runs(job_id, status__in=str(list(ACTIVE_STATUSES)))

    def count_results(self, run_id: int) -> Counter[str]:
        """Return the number of nodes of each type in the results of the run's last step."""
        response = self._client.get(f"/runs/{run_id}/artifacts/run_results.json")
        results = response.json()["results"] if response.status_code == 200 else []
        return Counter(result["unique_id"].split(".")[0] for result in results)

    def _get(self, path: str, **params: Any) -> Any:
        return self._data(self._client.get(path, params=params))

    @staticmethod
    def _data(response: httpx.Response) -> Any:
        return response.raise_for_status().json()["data"]

"""What users do to tasks in Airflow's UI, through the REST API."""

from typing import Any

from scripts.airflow_api import AirflowApi

PAGE_SIZE = 100


class AirflowUserApi(AirflowApi):
    """A client that also marks and clears tasks."""

    def set_task_state(self, dag_id: str, run_id: str, task_id: str, state: str) -> None:
        """Mark a task ``failed`` or ``success``."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"
        self._client.patch(path, json={"new_state": state}).raise_for_status()

    def clear(self, dag_id: str, run_id: str) -> None:
        """Clear all tasks of a Dag run."""
        fields = {"dry_run": False, "dag_run_id": run_id, "only_failed": False, "reset_dag_runs": True}
        self._client.post(f"/api/v2/dags/{dag_id}/clearTaskInstances", json=fields).raise_for_status()

    def delete_dag_run(self, dag_id: str, run_id: str) -> None:
        """Delete a Dag run."""
        self._client.delete(f"/api/v2/dags/{dag_id}/dagRuns/{run_id}").raise_for_status()

    def parse_dag_file(self, dag_id: str) -> None:
        """Parse the file of a Dag again, as soon as possible."""
        token = self._get(f"dags/{dag_id}").json()["file_token"]
        self._client.put(f"/api/v2/parseDagFile/{token}").raise_for_status()

    def get_task(self, dag_id: str, task_id: str) -> dict[str, Any]:
        """Return a task of a Dag as it was parsed last."""
        return self._get(f"dags/{dag_id}/tasks/{task_id}").json()

    def list_task_instances(self) -> list[dict[str, Any]]:
        """Return the task instances of all Dag runs."""
        found: list[dict[str, Any]] = []
        while True:
            page = self._get(
                "dags/~/dagRuns/~/taskInstances", limit=PAGE_SIZE, offset=len(found), order_by="id"
            ).json()
            found += page["task_instances"]
            if len(found) >= page["total_entries"] or not page["task_instances"]:
                return found

"""What a person does in Airflow's UI, beside the calls that the commands make."""

from typing import Any

from scripts.airflow_api import AirflowApi


class PersonsAirflowApi(AirflowApi):
    """A client that can mark and clear tasks, and read what they log."""

    def mark(self, dag_id: str, run_id: str, task_id: str, state: str) -> None:
        """Mark a task failed or success."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"
        self._client.patch(path, json={"new_state": state}).raise_for_status()

    def clear(self, dag_id: str, run_id: str) -> None:
        """Clear the tasks of a Dag run."""
        fields = {"dry_run": False, "dag_run_id": run_id, "only_failed": False, "reset_dag_runs": True}
        self._client.post(f"/api/v2/dags/{dag_id}/clearTaskInstances", json=fields).raise_for_status()

    def get_log(self, dag_id: str, run_id: str, task_id: str, try_number: int) -> list[dict[str, Any]]:
        """Return what one try of a task logged, in the worker and in the triggerer."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
        answer = self._client.get(path, params={"full_content": True})
        return answer.raise_for_status().json()["content"]

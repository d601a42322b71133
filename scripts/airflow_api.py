"""The few calls of Airflow's REST API that the commands need."""

import json
from typing import Any

import httpx

from scripts.failure import Failure

AIRFLOW_PARTS = ("metadatabase", "scheduler", "triggerer", "dag_processor")


class AirflowApi:
    """A client of a local Airflow whose users are all admins."""

    def __init__(self, url: str) -> None:
        # An Airflow on this machine is not behind a proxy, whatever the environment says.
        self._client = httpx.Client(base_url=url, timeout=30, trust_env=False)

    def log_in(self) -> None:
        """Get a token for the calls that follow."""
        token = self._client.get("/auth/token").raise_for_status().json()["access_token"]
        self._client.headers["Authorization"] = f"Bearer {token}"

    def is_healthy(self) -> bool:
        """Return whether the scheduler, the triggerer, the Dag processor and the database are all healthy."""
        try:
            parts = self._client.get("/api/v2/monitor/health").raise_for_status().json()
        except httpx.HTTPError:
            return False
        return all(parts[part]["status"] == "healthy" for part in AIRFLOW_PARTS)

    def is_up(self) -> bool:
        """Return whether Airflow's API server listens."""
        try:
            self._client.get("/api/v2/version")
        except httpx.ConnectError:
            return False
        except httpx.HTTPError:
            # Slow, or in the middle of something: it is there.
            return True
        return True

    def import_settings(self, settings: dict[str, list[dict[str, Any]]]) -> None:
        """Create or update what airflow_settings.yaml holds, as the Astro CLI does at every start."""
        for entry in settings["connections"]:
            extra = entry.get("conn_extra")
            fields = {
                "connection_id": entry["conn_id"],
                "conn_type": entry.get("conn_type"),
                "host": entry.get("conn_host"),
                "login": entry.get("conn_login"),
                "password": entry.get("conn_password"),
                "schema": entry.get("conn_schema"),
                "port": entry.get("conn_port"),
                "extra": json.dumps(extra) if isinstance(extra, dict) else extra,
            }
            self._upsert("connections", "connection_id", fields)
        for entry in settings["variables"]:
            fields = {"key": entry["variable_name"], "value": entry["variable_value"]}
            self._upsert("variables", "key", fields)
        for entry in settings["pools"]:
            fields = {
                "name": entry["pool_name"],
                "slots": entry.get("pool_slot"),
                "description": entry.get("pool_description"),
            }
            self._upsert("pools", "name", fields)

    def get_dag(self, dag_id: str) -> dict[str, Any] | None:
        """Return a Dag, None while Airflow does not know it."""
        answer = self._client.get(f"/api/v2/dags/{dag_id}")
        return None if answer.status_code == 404 else answer.raise_for_status().json()

    def import_errors(self) -> list[str]:
        """Return the errors of Dag files that do not import."""
        errors = self._client.get("/api/v2/importErrors").raise_for_status().json()["import_errors"]
        return [f"{error['filename']}: {error['stack_trace'].strip().splitlines()[-1]}" for error in errors]

    def pause(self, dag_id: str, is_paused: bool) -> None:
        """Pause or unpause a Dag."""
        self._client.patch(f"/api/v2/dags/{dag_id}", json={"is_paused": is_paused}).raise_for_status()

    def active_dag_runs(self, dag_id: str) -> int:
        """Return how many runs of a Dag are queued or running."""
        states = {"state": ["queued", "running"]}
        answer = self._client.get(f"/api/v2/dags/{dag_id}/dagRuns", params=states)
        return answer.raise_for_status().json()["total_entries"]

    def trigger_dag(self, dag_id: str, run_id: str, conf: dict[str, Any] | None = None) -> None:
        """Trigger a Dag with params; its run will have this id."""
        fields = {"dag_run_id": run_id, "logical_date": None, "conf": conf or {}}
        self._client.post(f"/api/v2/dags/{dag_id}/dagRuns", json=fields).raise_for_status()

    def get_dag_runs(self, dag_id: str) -> list[dict[str, Any]]:
        """Return the runs of a Dag."""
        return self._client.get(f"/api/v2/dags/{dag_id}/dagRuns").raise_for_status().json()["dag_runs"]

    def get_dag_run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """Return a Dag run."""
        return self._client.get(f"/api/v2/dags/{dag_id}/dagRuns/{run_id}").raise_for_status().json()

    def get_task_instances(self, dag_id: str, run_id: str) -> dict[str, dict[str, Any]]:
        """Return the task instances of a Dag run by their task ids."""
        answer = self._client.get(f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances")
        return {one["task_id"]: one for one in answer.raise_for_status().json()["task_instances"]}

    def get_xcom(self, dag_id: str, run_id: str, task_id: str, key: str) -> Any:
        """Return a value that a task pushed, None if it pushed none."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        answer = self._client.get(path)
        return None if answer.status_code == 404 else answer.raise_for_status().json()["value"]

    def get_error(self, dag_id: str, run_id: str, task_id: str, try_number: int) -> str:
        """Return the text of the last error in a task's log, empty if there is none."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
        lines = self._client.get(path, params={"full_content": True}).raise_for_status().json()["content"]
        # What was raised comes first, then what caused it.
        errors = [line["error_detail"][0] for line in lines if line.get("error_detail")]
        return f"{errors[-1]['exc_type']}: {errors[-1]['exc_value']}" if errors else ""

    def _upsert(self, kind: str, key: str, fields: dict[str, Any]) -> None:
        answer = self._client.post(f"/api/v2/{kind}", json=fields)
        if answer.status_code == 409:
            answer = self._client.patch(f"/api/v2/{kind}/{fields[key]}", json=fields)
        if answer.is_error:
            why = answer.json().get("detail")
            raise Failure(f"Airflow refuses {fields[key]!r} of the {kind} in airflow_settings.yaml: {why}")

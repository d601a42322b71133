"""Client of Airflow's REST API."""

import json
import time
from datetime import datetime
from typing import Any

import httpx

from scripts.exceptions import UserError

COMPONENTS = ("metadatabase", "scheduler", "triggerer", "dag_processor")
# One attempt per second.
LOG_ATTEMPTS = 10
# Seconds.
IMPORT_TIMEOUT = 60


class AirflowApi:
    """A client of a local Airflow in which every user is an admin.

    :param url: Base URL of Airflow.
    """

    def __init__(self, url: str) -> None:
        # A local Airflow is never behind the environment's proxy.
        self._client = httpx.Client(base_url=url, timeout=30, trust_env=False)

    def log_in(self) -> None:
        """Get a token for the following requests."""
        token = self._client.get("/auth/token").raise_for_status().json()["access_token"]
        self._client.headers["Authorization"] = f"Bearer {token}"

    def is_healthy(self) -> bool:
        """Return whether the database, scheduler, triggerer and Dag processor are healthy."""
        try:
            health = self._client.get("/api/v2/monitor/health").raise_for_status().json()
        except httpx.HTTPError:
            return False
        return all(health[component]["status"] == "healthy" for component in COMPONENTS)

    def is_listening(self) -> bool:
        """Return whether Airflow's API server accepts connections."""
        try:
            self._client.get("/api/v2/version")
        except httpx.ConnectError:
            return False
        except httpx.HTTPError:
            # It accepted the connection, but is slow or restarting.
            return True
        return True

    def import_settings(self, settings: dict[str, list[dict[str, Any]]]) -> None:
        """Create or update the objects of airflow_settings.yaml, as the Astro CLI does at every start.

        :param settings: ``connections``, ``variables`` and ``pools``.
        :raises UserError: Airflow rejected one of them.
        """
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

    def get_import_errors(self) -> list[str]:
        """Return the Dag files that cannot be imported, each with its error."""
        errors = self._get("importErrors").json()["import_errors"]
        return [f"{error['filename']}: {error['stack_trace'].strip().splitlines()[-1]}" for error in errors]

    def has_dag(self, dag_id: str) -> bool:
        """Return whether Airflow has parsed a Dag."""
        return self._get(f"dags/{dag_id}", missing_ok=True).is_success

    def is_paused(self, dag_id: str) -> bool:
        """Return whether a Dag is paused."""
        return self._get(f"dags/{dag_id}").json()["is_paused"]

    def pause(self, dag_id: str, is_paused: bool) -> None:
        """Pause or unpause a Dag."""
        self._client.patch(f"/api/v2/dags/{dag_id}", json={"is_paused": is_paused}).raise_for_status()

    def count_active_dag_runs(self, dag_id: str) -> int:
        """Return the number of queued and running runs of a Dag."""
        return self._get(f"dags/{dag_id}/dagRuns", state=["queued", "running"]).json()["total_entries"]

    def trigger_dag(
        self,
        dag_id: str,
        run_id: str,
        conf: dict[str, Any] | None = None,
        run_after: datetime | None = None,
    ) -> None:
        """Trigger a Dag run with a given ID.

        :param conf: Overrides the Dag's params.
        :param run_after: Time by which Airflow sorts the runs. Default: now.
        """
        fields: dict[str, Any] = {"dag_run_id": run_id, "logical_date": None, "conf": conf or {}}
        if run_after:
            fields["run_after"] = run_after.isoformat()
        self._client.post(f"/api/v2/dags/{dag_id}/dagRuns", json=fields).raise_for_status()

    def get_dag_runs(self, dag_id: str) -> list[dict[str, Any]]:
        """Return the runs of a Dag."""
        return self._get(f"dags/{dag_id}/dagRuns").json()["dag_runs"]

    def get_dag_run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """Return a Dag run."""
        return self._get(f"dags/{dag_id}/dagRuns/{run_id}").json()

    def get_task_instances(self, dag_id: str, run_id: str) -> dict[str, dict[str, Any]]:
        """Return the task instances of a Dag run by task ID."""
        task_instances = self._get(f"dags/{dag_id}/dagRuns/{run_id}/taskInstances").json()["task_instances"]
        return {one["task_id"]: one for one in task_instances}

    def get_xcom(self, dag_id: str, run_id: str, task_id: str, key: str) -> Any:
        """Return a value that a task pushed; None if it pushed none."""
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        response = self._get(path, missing_ok=True)
        return response.json()["value"] if response.is_success else None

    def get_log(self, dag_id: str, run_id: str, task_id: str, try_number: int) -> list[dict[str, Any]]:
        """Return the log entries of one try of a task, from worker and triggerer; none if it never ran."""
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
        # A Dag run that is deleted and triggered again at once can begin with the second try.
        response = self._get(path, missing_ok=True, full_content=True)
        return response.json()["content"] if response.is_success else []

    def get_task_error(self, dag_id: str, run_id: str, task_id: str, try_number: int) -> str:
        """Return the last exception in the log of a failed task, without its causes; empty if none."""
        # Airflow stores the state of a task before the end of its log.
        for _ in range(LOG_ATTEMPTS):
            entries = self.get_log(dag_id, run_id, task_id, try_number)
            if errors := [entry["error_detail"][0] for entry in entries if entry.get("error_detail")]:
                return f"{errors[-1]['exc_type']}: {errors[-1]['exc_value']}"
            time.sleep(1)
        return ""

    def _get(self, path: str, missing_ok: bool = False, **params: Any) -> httpx.Response:
        response = self._client.get(f"/api/v2/{path}", params=params)
        return response if missing_ok and response.status_code == 404 else response.raise_for_status()

    def _create_or_update(self, kind: str, key: str, fields: dict[str, Any]) -> httpx.Response:
        response = self._client.post(f"/api/v2/{kind}", json=fields)
        if response.status_code == 409:
            return self._client.patch(f"/api/v2/{kind}/{fields[key]}", json=fields)
        return response

    def _upsert(self, kind: str, key: str, fields: dict[str, Any]) -> None:
        deadline = time.monotonic() + IMPORT_TIMEOUT
        # Interrupted tasks restart together with Airflow, and SQLite can then be locked for a while.
        while (response := self._create_or_update(kind, key, fields)).is_server_error:
            if time.monotonic() > deadline:
                raise UserError(
                    f"Airflow could not store {fields[key]!r} in its {kind} for {IMPORT_TIMEOUT} seconds "
                    f"({response.status_code}): start it again."
                )
            time.sleep(1)
        if response.is_error:
            reason = response.json().get("detail")
            raise UserError(
                f"Airflow rejected {fields[key]!r} in the {kind} of airflow_settings.yaml: {reason}"
            )

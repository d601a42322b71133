"""The two Dag runs of `make run`: one with an idle job, one with a job that is running already."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.markup import escape

from scripts.airflow_api import AirflowApi
from scripts.dbt_cloud_api import DbtCloudApi
from scripts.exceptions import UserError
from scripts.progress import Progress
from scripts.report import DagRunResult
from scripts.settings import DAG_ID, Settings

CHECK_TASK, TRIGGER_TASK = "check_job_is_not_running", "trigger_job"
# Seconds. For the local dbt Cloud only: a real job may run for hours.
DAG_RUN_TIMEOUT = 600


@dataclass(frozen=True)
class Demo:
    """Runs the main Dag and checks the states of its tasks and the dbt runs that it starts."""

    settings: Settings
    airflow: AirflowApi
    dbt_cloud: DbtCloudApi
    progress: Progress

    def run_idle_job(self) -> DagRunResult:
        """Run the Dag while the job is idle: it must start one dbt run, which must succeed.

        :raises UserError: Something else happened.
        """
        self._wait_for_earlier_dag_runs()
        self.wait_until_idle()
        newest = self.dbt_cloud.get_newest_run_id(self.settings.job_id)
        states = {CHECK_TASK: "success", TRIGGER_TASK: "success"}
        run_id = self._run_dag("Job idle", states)
        started = self.dbt_cloud.list_runs(self.settings.job_id, after=newest)
        if not self.settings.is_local:
            # Other people may run a real job at the same time.
            triggered = self.airflow.get_xcom(DAG_ID, run_id, TRIGGER_TASK, "job_run_id")
            started = [run for run in started if run["id"] == triggered]
        if [run["status_humanized"] for run in started] != ["Success"]:
            found = ", ".join(f"{run['id']} {run['status_humanized']}" for run in started) or "none"
            raise UserError(
                f"Dag run {run_id} should have started one dbt run with status Success; found: {found}."
            )
        return self._result("Job idle: triggered", run_id, states, started[0]["id"])

    def skip_active_job(self) -> DagRunResult:
        """Run the Dag while a dbt run is active that Airflow did not start: it must not start a second one.

        :raises UserError: Something else happened.
        """
        self.wait_until_idle()
        active = self.dbt_cloud.trigger_job_run(self.settings.job_id, "Started outside Airflow, by make run")
        states = {CHECK_TASK: "success", TRIGGER_TASK: "skipped"}
        run_id = self._run_dag(f"dbt run {active['id']} active", states)
        if more := self.dbt_cloud.list_runs(self.settings.job_id, after=active["id"]):
            raise UserError(f"Dag run {run_id} should have started no dbt run; found run {more[0]['id']}.")
        return self._result("Job active: skipped", run_id, states, active["id"])

    def wait_until_idle(self) -> None:
        """Wait until no run of the job is active."""
        with self.progress.status("Waiting for active dbt runs") as status:
            while runs := self.dbt_cloud.list_active_runs(self.settings.job_id):
                status.update(f"Waiting for dbt run {runs[0]['id']} to end: {runs[0]['href']}")
                time.sleep(0.5)

    def _wait_for_earlier_dag_runs(self) -> None:
        # A Dag run that was interrupted continues when Airflow starts again, and may trigger the job.
        with self.progress.status("Waiting for earlier Dag runs"):
            while self.airflow.count_active_dag_runs(DAG_ID):
                time.sleep(0.5)

    def _run_dag(self, title: str, expected: dict[str, str]) -> str:
        """Run the Dag and check the states of its tasks; return the ID of the Dag run."""
        run_id = f"make_run__{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}"
        # Sort it before the scheduled run that starts when the Dag is unpaused.
        midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        self.airflow.trigger_dag(DAG_ID, run_id, run_after=midnight - timedelta(minutes=1))
        deadline = time.monotonic() + DAG_RUN_TIMEOUT
        with self.progress.status(title) as status:
            while self.airflow.get_dag_run(DAG_ID, run_id)["state"] in ("queued", "running"):
                tasks = self.airflow.get_task_instances(DAG_ID, run_id)
                text = f"{title}: {_format_states(tasks, expected)}{self._dbt_progress(run_id, tasks)}"
                status.update(escape(text))
                if self.settings.is_local and time.monotonic() > deadline:
                    raise UserError(f"Dag run {run_id} is still active after {DAG_RUN_TIMEOUT} seconds.")
                time.sleep(0.5)
        tasks = self.airflow.get_task_instances(DAG_ID, run_id)
        for task_id, state in expected.items():
            if tasks[task_id]["state"] != state:
                raise UserError(self._unexpected_state(run_id, tasks, task_id, state))
        self.progress.done(f"{title}: {_format_states(tasks, expected)}")
        return run_id

    def _dbt_progress(self, run_id: str, tasks: dict[str, dict[str, Any]]) -> str:
        if tasks[TRIGGER_TASK]["state"] not in ("running", "deferred"):
            return ""
        dbt_run_id = self.airflow.get_xcom(DAG_ID, run_id, TRIGGER_TASK, "job_run_id")
        if dbt_run_id is None:
            return ""
        run = self.dbt_cloud.get_run(dbt_run_id)
        step = f", {run['run_steps'][-1]['name']}" if run["run_steps"] else ""
        return f"; dbt run {dbt_run_id} {run['status_humanized'].lower()}{step}"

    def _unexpected_state(
        self, run_id: str, tasks: dict[str, dict[str, Any]], task_id: str, expected: str
    ) -> str:
        state = tasks[task_id]["state"]
        message = f"Task {task_id} of Dag run {run_id} is {state}; expected {expected}."
        # An upstream task may be the one that failed.
        for task in tasks.values():
            if task["state"] == "failed":
                error = self.airflow.get_task_error(DAG_ID, run_id, task["task_id"], task["try_number"])
                message += f" Error of {task['task_id']}: {error or 'not in its log'}"
        return message

    def _result(self, title: str, run_id: str, states: dict[str, str], dbt_run_id: int) -> DagRunResult:
        url = f"{self.settings.airflow_url}/dags/{DAG_ID}/runs/{run_id}"
        seconds = self.airflow.get_dag_run(DAG_ID, run_id)["duration"]
        return DagRunResult(title, url, seconds, states, dbt_run_id)


def _format_states(tasks: dict[str, dict[str, Any]], order: dict[str, str]) -> str:
    return ", ".join(f"{task_id} {tasks[task_id]['state'] or 'waiting'}" for task_id in order)

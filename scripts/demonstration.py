"""What `make run` shows: the main Dag runs an idle job, and leaves a job alone that is running."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.markup import escape

from scripts.airflow_api import AirflowApi
from scripts.dbt_cloud_api import DbtCloudApi
from scripts.failure import Failure
from scripts.progress import Progress
from scripts.report import Outcome
from scripts.settings import DAG_ID, Settings

CHECK, TRIGGER = "check_job_is_not_running", "trigger_job"
SECONDS_FOR_A_DAG_RUN = 600


@dataclass(frozen=True)
class Demonstration:
    """The two Dag runs and what each must come to."""

    settings: Settings
    airflow: AirflowApi
    dbt_cloud: DbtCloudApi
    progress: Progress

    def idle_job_is_run(self) -> Outcome:
        """Run the Dag while the job is idle: the Dag run succeeds, and so does the one dbt run it started.

        :raises Failure: it came out otherwise.
        """
        self._wait_for_earlier_dag_runs()
        self.wait_until_idle()
        before = self.dbt_cloud.last_run_id(self.settings.job_id)
        run_id, states = self._run_dag("the job is idle", {CHECK: "success", TRIGGER: "success"})
        started = self.dbt_cloud.runs_after(before, self.settings.job_id)
        if not self.settings.is_local:
            # Others may run a real job meanwhile; those runs are not this Dag run's.
            ours = self.airflow.get_xcom(DAG_ID, run_id, TRIGGER, "job_run_id")
            started = [run for run in started if run["id"] == ours]
        if [run["status_humanized"] for run in started] != ["Success"]:
            found = ", ".join(f"{run['id']} {run['status_humanized']}" for run in started) or "none"
            raise Failure(f"Dag run {run_id} should have started one successful dbt run; there is: {found}.")
        return self._outcome("The job was idle: the Dag ran it", run_id, states, started[0]["id"])

    def active_job_is_left_alone(self) -> Outcome:
        """Run the Dag while a run is active that was started elsewhere: it starts no second one.

        :raises Failure: it came out otherwise.
        """
        self.wait_until_idle()
        outside = self.dbt_cloud.trigger_job_run(self.settings.job_id, "Started outside Airflow, by make run")
        title = f"dbt run {outside['id']} is active already"
        run_id, states = self._run_dag(title, {CHECK: "success", TRIGGER: "skipped"})
        if more := self.dbt_cloud.runs_after(outside["id"], self.settings.job_id):
            raise Failure(f"Dag run {run_id} should have started no dbt run; there is run {more[0]['id']}.")
        return self._outcome("A run was active: the Dag started none", run_id, states, outside["id"])

    def wait_until_idle(self) -> None:
        """Wait until no run of the job is active."""
        with self.progress.waiting("Waiting for the job to be idle") as status:
            while runs := self.dbt_cloud.active_runs(self.settings.job_id):
                status.update(f"Waiting for dbt run {runs[0]['id']} to end: {runs[0]['href']}")
                time.sleep(0.5)

    def _wait_for_earlier_dag_runs(self) -> None:
        # One that was interrupted goes on as soon as Airflow is up again, and may trigger the job itself.
        with self.progress.waiting("Waiting for an earlier Dag run to end"):
            while self.airflow.active_dag_runs(DAG_ID):
                time.sleep(0.5)

    def _run_dag(self, title: str, expected: dict[str, str]) -> tuple[str, dict[str, str]]:
        """Run the Dag; return the run's id and the states of its tasks, which must be those expected."""
        run_id = f"make_run__{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}"
        self.airflow.trigger_dag(DAG_ID, run_id)
        end = time.monotonic() + SECONDS_FOR_A_DAG_RUN
        with self.progress.waiting(title) as status:
            while self.airflow.get_dag_run(DAG_ID, run_id)["state"] in ("queued", "running"):
                tasks = self.airflow.get_task_instances(DAG_ID, run_id)
                text = f"{title}: {_in_words(tasks, expected)}{self._dbt_progress(run_id, tasks)}"
                status.update(escape(text))
                # A real job takes as long as it takes.
                if self.settings.is_local and time.monotonic() > end:
                    raise Failure(f"Dag run {run_id} has not ended after {SECONDS_FOR_A_DAG_RUN} seconds.")
                time.sleep(0.5)
        tasks = self.airflow.get_task_instances(DAG_ID, run_id)
        for task_id, state in expected.items():
            if tasks[task_id]["state"] != state:
                raise Failure(self._unexpected(run_id, tasks[task_id], state))
        self.progress.done(f"{title}: {_in_words(tasks, expected)}")
        return run_id, expected

    def _dbt_progress(self, run_id: str, tasks: dict[str, dict[str, Any]]) -> str:
        if tasks[TRIGGER]["state"] not in ("running", "deferred"):
            return ""
        dbt_run_id = self.airflow.get_xcom(DAG_ID, run_id, TRIGGER, "job_run_id")
        if dbt_run_id is None:
            return ""
        run = self.dbt_cloud.get_run(dbt_run_id)
        step = f", {run['run_steps'][-1]['name']}" if run["run_steps"] else ""
        return f"; dbt run {dbt_run_id} {run['status_humanized'].lower()}{step}"

    def _unexpected(self, run_id: str, task: dict[str, Any], state: str) -> str:
        text = f"Task {task['task_id']} of Dag run {run_id} should be {state} but is {task['state']}."
        # A task that did not fail itself was stopped by another one that did.
        tasks = self.airflow.get_task_instances(DAG_ID, run_id).values()
        for failed in (one for one in tasks if one["state"] == "failed"):
            error = self.airflow.get_error(DAG_ID, run_id, failed["task_id"], failed["try_number"])
            text += f" {failed['task_id']} says: {error or 'nothing'}"
        return text

    def _outcome(self, title: str, run_id: str, states: dict[str, str], dbt_run_id: int) -> Outcome:
        url = f"{self.settings.airflow_url}/dags/{DAG_ID}/runs/{run_id}"
        seconds = self.airflow.get_dag_run(DAG_ID, run_id)["duration"]
        return Outcome(title, run_id, url, seconds, states, dbt_run_id)


def _in_words(tasks: dict[str, dict[str, Any]], order: dict[str, str]) -> str:
    return ", ".join(f"{task_id} {tasks[task_id]['state'] or 'waits'}" for task_id in order)

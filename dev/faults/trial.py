"""Run one scenario with one variant of the operator, and observe the result."""

import contextlib
import re
from collections.abc import Callable, Iterator
from operator import not_
from pathlib import Path
from typing import Any

import httpx
import psutil
from tenacity import (
    RetryError,
    Retrying,
    retry_if_exception_type,
    retry_if_result,
    stop_after_delay,
    wait_fixed,
)

from dev.faults.observation import Observation
from dev.faults.scenarios import Scenario
from dev.faults.stack import CAUSE_OF_OTHERS, DbtRun, Stack, frozen

RUN_ID = "fault"
# Seconds.
WAIT_TIMEOUT = 180
# Long, because a triggerer's first request for a task's state takes five seconds of CPU time.
CANCEL_TIMEOUT = 60
REACTION_TIMEOUT = 12
POLL_INTERVAL = 0.5
# Messages of the operator that are highlighted although they are neither warnings nor errors.
RECOVERY_MESSAGES = r"(Canceled|Joining|Reattaching to|Not canceling)( the)? dbt Cloud run"


class Trial:
    """One execution of a scenario with one variant.

    :param variant: ``ours`` or ``stock``.
    :param stack: Running Airflow and local dbt Cloud.
    """

    def __init__(self, scenario: Scenario, variant: str, stack: Stack) -> None:
        self.scenario, self.variant, self.stack = scenario, variant, stack
        self.dag_id, self.job_id = scenario.dag_id(variant), scenario.job_id(variant)
        self.airflow = stack.airflow_api
        self.fault_ids: list[int] = []
        self.errors: list[str] = []

    def run(self) -> Observation:
        """Inject the fault, wait until the Dag run has ended, and return what was observed.

        Never raises: an error is part of the observation, so that the other trials continue.
        """
        runs: list[DbtRun] = []
        state, log, highlights = "", "", ()
        with self._recording_errors():
            self.scenario.inject(self)
            if "Success" in self.scenario.expected_runs:
                self.end_runs("success")
            self.wait_for_dag_run()
        with self._recording_errors():
            # A run that is still active after this time is orphaned.
            with contextlib.suppress(TimeoutError):
                self._wait("no active run", lambda: not self._active_runs(), CANCEL_TIMEOUT)
            runs, tasks = self.runs(), self._wait("the tasks", self.tasks).values()
            state = "/".join(sorted({str(task["state"]) for task in tasks}))
            log, highlights = self._wait("the logs", self._read_logs)
        with self._recording_errors():
            for fault_id in self.fault_ids:
                self._remove_fault(fault_id)
            for run in self._active_runs():
                self.stack.dbt_cloud.cancel(run.id)
        return Observation(tuple(runs), state, log, highlights, "; ".join(self.errors))

    @contextlib.contextmanager
    def _recording_errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            kind = "" if isinstance(error, TimeoutError) else f"{type(error).__name__}: "
            self.errors.append(f"{self.dag_id}: {kind}{error}")

    @property
    def is_exclusive(self) -> bool:
        """Whether no other trial may run at the same time."""
        return self.variant in self.scenario.exclusive

    # Actions

    def start(self) -> None:
        """Trigger the Dag."""
        self._call_airflow(self.airflow.trigger_dag, self.dag_id, RUN_ID)

    @property
    def submit_path(self) -> str:
        """Pattern of the path of the request that starts a run."""
        return f"/jobs/{self.job_id}/run$"

    @property
    def poll_path(self) -> str:
        """Pattern of the path of a poll: one request for all runs, or for this one."""
        return "/runs$" if self.variant == "ours" else f"/runs/{self.runs()[-1].id}$"

    def inject_fault(self, **fault: Any) -> int:
        """Add a fault to the local dbt Cloud until the end of the trial; return its ID."""
        self.fault_ids.append(self.stack.dbt_cloud.add_fault(**fault))
        return self.fault_ids[-1]

    def _remove_fault(self, fault_id: int) -> None:
        # 404 is fine: a fault that was applied as often as requested is gone.
        dbt_cloud = self.stack.dbt_cloud
        dbt_cloud.client.delete(f"{dbt_cloud.url}/local/faults/{fault_id}")

    def end_runs(self, outcome: str) -> None:
        """Let the job's runs, current and future, end with ``success`` or ``error``."""
        (self.stack.outcomes / str(self.job_id)).write_text(outcome, encoding="utf-8")

    def cancel_newest_run(self) -> None:
        """Cancel the job's newest run, as a user does in dbt Cloud."""
        self.stack.dbt_cloud.cancel(self.runs()[-1].id)

    def mark_task(self, state: str) -> None:
        """Mark the only task ``failed`` or ``success``, as a user does in Airflow's UI."""
        (task_id,) = self.tasks()
        self._call_airflow(self.airflow.set_task_state, self.dag_id, RUN_ID, task_id, state)

    def clear_tasks(self) -> None:
        """Clear the tasks, as a user does in Airflow's UI."""
        self._call_airflow(self.airflow.clear, self.dag_id, RUN_ID)

    def delete_dag_run(self) -> None:
        """Delete the Dag run, as a user does in Airflow's UI."""
        self._call_airflow(self.airflow.delete_dag_run, self.dag_id, RUN_ID)

    def edit_dag(self) -> None:
        """Change the arguments of the only task in the Dag file, as ``edited_arguments`` says."""
        ((task_id, _),) = self.tasks().items()
        self.stack.edit_dag(self.dag_id)
        self._call_airflow(self.airflow.parse_dag_file, self.dag_id)
        expected = dict(self.scenario.edited_arguments).items()
        is_parsed = lambda: expected <= self.airflow.get_task(self.dag_id, task_id).items()  # noqa: E731
        self._wait("the edited Dag", is_parsed)

    def add_runs_of_others(self, count: int) -> None:
        """Add finished runs of the job that nobody here has started."""
        for _ in range(count):
            self.stack.dbt_cloud.create_run(job_id=self.job_id, cause=CAUSE_OF_OTHERS)

    @contextlib.contextmanager
    def frozen_worker(self) -> Iterator[None]:
        """Freeze the process of the only task, and the one that supervises it, while the block runs."""
        (task,) = self.tasks().values()
        process = psutil.Process(task["pid"])
        with frozen([process, *process.parents()[:1]]):
            yield

    def _call_airflow(self, action: Callable[..., None], *arguments: str) -> None:
        # One at a time and again after an error: Airflow answers 500 while its SQLite database is locked.
        def call() -> bool:
            with self.stack.airflow_lock:
                action(*arguments)
            return True

        self._wait(f"Airflow to {action.__name__}", call)

    # Conditions

    def wait_until_waiting(self, run_count: int = 1) -> None:
        """Wait until all tasks wait for their runs, deferred or in a worker, and the first run has started.

        :param run_count: Number of runs that the job must have.
        """
        self._wait("tasks to wait", lambda: all(self._is_waiting(*item) for item in self.tasks().items()))
        self._wait("a run to start", lambda: len(self.runs()) >= run_count and self.runs()[0].started)

    def wait_for_second_triggerer(self) -> None:
        """Wait until another triggerer runs the trigger of the only task."""
        ((task_id, task),) = self.tasks().items()
        self._wait("another triggerer", lambda: len(self._triggerer_logs(task_id, task)) > 1)

    def wait_for_second_try(self) -> None:
        """Wait until the second try of the only task waits for its run, or has ended."""

        def is_waiting() -> bool:
            ((task_id, task),) = self.tasks().items()
            has_ended = task["state"] in ("success", "failed")
            return task["try_number"] > 1 and (has_ended or self._is_waiting(task_id, task))

        self._wait("the second try", is_waiting)

    def let_processes_react(self) -> None:
        """Give processes time to end the run, which they must not do."""
        with contextlib.suppress(TimeoutError):
            self._wait("the end of a run", lambda: not self._active_runs(), REACTION_TIMEOUT)

    def wait_for_fault(self, fault_id: int, while_deferred: bool = False) -> None:
        """Wait until a fault was applied as often as requested or the Dag run has ended, then remove it.

        :param while_deferred: Whether to stop waiting as soon as a task is no longer deferred.
        """

        def is_done() -> bool:
            is_used_up = fault_id not in [fault["id"] for fault in self.stack.dbt_cloud.faults()]
            resumed = while_deferred and any(task["state"] != "deferred" for task in self.tasks().values())
            return is_used_up or resumed or self._dag_run_ended()

        self._wait("requests that the fault affects", is_done)
        self._remove_fault(fault_id)

    def wait_for_runs(self, count: int) -> None:
        """Wait until the job has a number of runs."""
        self._wait(f"{count} runs", lambda: len(self.runs()) >= count)

    def wait_for_run_end(self) -> None:
        """Wait until any run of the job has ended."""
        self._wait("the end of a run", lambda: any(not run.active for run in self.runs()))

    def wait_for_dag_run(self) -> None:
        """Wait until the Dag run has ended."""
        self._wait("the end of the Dag run", self._dag_run_ended)

    def _dag_run_ended(self) -> bool:
        return self.airflow.get_dag_run(self.dag_id, RUN_ID)["state"] in ("success", "failed")

    def _is_waiting(self, task_id: str, task: dict[str, Any]) -> bool:
        if self.scenario.arguments.get("deferrable", True):
            return task["state"] == "deferred" and bool(self._triggerer_logs(task_id, task))
        run_id = self.airflow.get_xcom(self.dag_id, RUN_ID, task_id, "job_run_id")
        return task["state"] == "running" and run_id is not None

    def _triggerer_logs(self, task_id: str, task: dict[str, Any]) -> list[Path]:
        # The REST API does not tell whether a triggerer has started a trigger; its log file does.
        logs = self.stack.settings.airflow_home / "logs" / f"dag_id={self.dag_id}" / f"run_id={RUN_ID}"
        return list((logs / f"task_id={task_id}").glob(f"attempt={task['try_number']}.log.trigger.*"))

    def _wait(self, what: str, condition: Callable[[], Any], timeout: float = WAIT_TIMEOUT) -> Any:
        """Return the result of a condition as soon as it is true; HTTP errors count as false."""
        retrying = Retrying(
            retry=retry_if_result(not_) | retry_if_exception_type(httpx.HTTPError),
            wait=wait_fixed(POLL_INTERVAL),
            stop=stop_after_delay(timeout),
        )
        try:
            return retrying(condition)
        except RetryError as error:
            failure = error.last_attempt.exception()
            raise TimeoutError(f"timed out waiting for {what}{(failure and f': {failure}') or ''}") from None

    # Observations

    def tasks(self) -> dict[str, dict[str, Any]]:
        """Return the task instances by task ID."""
        return self.airflow.get_task_instances(self.dag_id, RUN_ID)

    def runs(self) -> list[DbtRun]:
        """Return the job's runs in dbt Cloud, oldest first."""
        return self.stack.list_runs(self.job_id)

    def _active_runs(self) -> list[DbtRun]:
        return [run for run in self.runs() if run.active]

    def _read_logs(self) -> tuple[str, tuple[str, ...]]:
        """Return all log lines, and the highlights among them."""
        lines, highlights = [], []
        for task_id, task in self.tasks().items():
            for try_number in range(1, task["try_number"] + 1):
                for entry in self.airflow.get_log(self.dag_id, RUN_ID, task_id, try_number):
                    details = entry.get("error_detail") or []
                    errors = [f"{detail['exc_type']}: {detail['exc_value']}" for detail in details]
                    lines += [entry["event"], *errors]
                    if errors:
                        # The rest are its causes.
                        highlights.append(errors[0])
                    elif entry.get("level") == "warning" and ".operators." in entry.get("logger", ""):
                        highlights.append(entry["event"])
            results = self.airflow.get_xcom(self.dag_id, RUN_ID, task_id, "run_results")
            lines += [f"XCom run_results: {results}"] if results else []
        recoveries = [line for line in lines if re.match(RECOVERY_MESSAGES, line)]
        return "\n".join(lines), tuple(dict.fromkeys(highlights + recoveries))

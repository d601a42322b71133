"""Play one scenario with one variant of the operator, and observe what comes of it."""

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from dev.faults.facts import Facts
from dev.faults.scenarios import Scenario
from dev.faults.stack import DbtRun, Stack

RUN_ID = "fault"
# Generous: nothing here is about speed. What is left active after the second was left behind.
SECONDS_TO_WAIT = 180
SECONDS_TO_CANCEL = 30
# How the lines begin that tell what a task does about a fault, beside its warnings and errors.
COPES = "Cancelled run|Joining run|An earlier try of this task"


class Case:
    """A scenario with a variant, and the stack that it takes place in."""

    def __init__(self, scenario: Scenario, variant: str, stack: Stack) -> None:
        self.scenario, self.variant, self.stack = scenario, variant, stack
        self.dag_id, self.job_id = scenario.dag_id(variant), scenario.job_id(variant)
        self.airflow = stack.airflow_api
        self.faults: list[int] = []
        self.troubles: list[str] = []

    def play(self) -> Facts:
        """Bring the fault about, let the runs end, and return what came of it.

        Never raises: an error is this case's trouble, and the other cases go on.
        """
        runs: list[DbtRun] = []
        state, text, words = "", "", ()
        with self._noting_trouble():
            self.scenario.bring_about(self)
            if "Success" in self.scenario.runs:
                self.end_runs("success")
            self.wait_until_over()
        with self._noting_trouble():
            with contextlib.suppress(TimeoutError):
                self._wait("no active run", lambda: not self._active_runs(), SECONDS_TO_CANCEL)
            runs, tasks = self.runs(), self._wait("the tasks", self.tasks).values()
            state = "/".join(sorted({str(task["state"]) for task in tasks}))
            text, words = self._wait("the logs", self._what_it_says)
        with self._noting_trouble():
            for fault in self.faults:
                self._remove_fault(fault)
            for run in self._active_runs():
                self.stack.dbt_cloud.cancel(run.id)
        return Facts(tuple(runs), state, text, words, "; ".join(self.troubles))

    @contextlib.contextmanager
    def _noting_trouble(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            kind = "" if isinstance(error, TimeoutError) else f"{type(error).__name__}: "
            self.troubles.append(f"{self.dag_id}: {kind}{error}")

    # What is done to it.

    def start(self) -> None:
        """Start the Dag."""
        self._ask(self.airflow.trigger_dag, self.dag_id, RUN_ID)

    @property
    def trigger_path(self) -> str:
        """The path of the request that starts a run."""
        return f"/jobs/{self.job_id}/run$"

    @property
    def poll_path(self) -> str:
        """The path of the request that asks how the run is: one for all runs, or for this one."""
        return "/runs$" if self.variant == "ours" else f"/runs/{self.runs()[-1].id}$"

    def add_fault(self, **fault: Any) -> int:
        """Turn a fault on, until all is over; return its id."""
        self.faults.append(self.stack.dbt_cloud.add_fault(**fault))
        return self.faults[-1]

    def _remove_fault(self, fault: int) -> None:
        # 404 is fine: the fault has applied as often as it may.
        dbt_cloud = self.stack.dbt_cloud
        dbt_cloud.client.delete(f"{dbt_cloud.url}/local/faults/{fault}")

    def end_runs(self, how: str) -> None:
        """Let the job's runs end as soon as they can, with success or error."""
        (self.stack.ends / str(self.job_id)).write_text(how, encoding="utf-8")

    def cancel_run(self) -> None:
        """Cancel the newest run, as a person."""
        self.stack.dbt_cloud.cancel(self.runs()[-1].id)

    def mark(self, state: str) -> None:
        """Mark the task failed or success, as a person."""
        ((task_id, _),) = self.tasks().items()
        self._ask(self.airflow.mark, self.dag_id, RUN_ID, task_id, state)

    def clear(self) -> None:
        """Clear the task, as a person."""
        self._ask(self.airflow.clear, self.dag_id, RUN_ID)

    def _ask(self, action: Callable[..., None], *arguments: str) -> None:
        # Airflow answers 500 to requests that meet each other at the lock of its SQLite.
        def is_done() -> bool:
            with self.stack.one_at_a_time:
                action(*arguments)
            return True

        self._wait("Airflow to do as it is told", is_done)

    # What is waited for.

    def wait_until_waiting(self, run: int = 1) -> None:
        """Wait until the tasks wait for their runs, and the job's first or a later run is under way."""
        self._wait("tasks to wait", lambda: all(self._waits(*item) for item in self.tasks().items()))
        self._wait("a run to begin", lambda: len(self.runs()) >= run and self.runs()[0].began)

    def wait_until_another_triggerer_has_it(self) -> None:
        """Wait until a second triggerer has the trigger of the task."""
        ((task_id, task),) = self.tasks().items()
        self._wait("another triggerer", lambda: len(self._triggerer_logs(task_id, task)) > 1)

    def wait_until_met(self, fault: int, while_deferred: bool = False) -> None:
        """Wait until a fault is met as often as it may be, or nothing is there to meet it; turn it off."""

        def met() -> bool:
            if fault not in [one["id"] for one in self.stack.dbt_cloud.faults()] or self._is_over():
                return True
            return while_deferred and any(task["state"] != "deferred" for task in self.tasks().values())

        self._wait("requests that meet the fault", met)
        self._remove_fault(fault)

    def wait_for_runs(self, number: int) -> None:
        """Wait until the job has so many runs, of which all but the last have ended."""
        self._wait(f"{number} runs", lambda: len(self.runs()) >= number)

    def wait_until_run_has_ended(self) -> None:
        """Wait for the end of the job's first run."""
        self._wait("the end of the run", lambda: any(not run.active for run in self.runs()))

    def wait_until_over(self) -> None:
        """Wait for the end of the Dag run."""
        self._wait("the end of the Dag run", self._is_over)

    def _is_over(self) -> bool:
        return self.airflow.get_dag_run(self.dag_id, RUN_ID)["state"] in ("success", "failed")

    def _waits(self, task_id: str, task: dict[str, Any]) -> bool:
        if self.scenario.operator.get("deferrable", True):
            return task["state"] == "deferred" and bool(self._triggerer_logs(task_id, task))
        run_id = self.airflow.get_xcom(self.dag_id, RUN_ID, task_id, "job_run_id")
        return task["state"] == "running" and run_id is not None

    def _triggerer_logs(self, task_id: str, task: dict[str, Any]) -> list[Path]:
        # Airflow does not tell when a triggerer has begun with a trigger; the trigger's first log line does.
        logs = self.stack.settings.airflow_home / "logs" / f"dag_id={self.dag_id}" / f"run_id={RUN_ID}"
        return list((logs / f"task_id={task_id}").glob(f"attempt={task['try_number']}.log.trigger.*"))

    def _wait(self, what: str, until: Callable[[], Any], seconds: float = SECONDS_TO_WAIT) -> Any:
        end = time.monotonic() + seconds
        while True:
            # Busy, or about to start again: it is asked once more.
            with contextlib.suppress(httpx.HTTPError):
                if found := until():
                    return found
            if time.monotonic() > end:
                raise TimeoutError(f"waited in vain for {what}")
            time.sleep(0.5)

    # What is seen of it.

    def tasks(self) -> dict[str, dict[str, Any]]:
        """Return Airflow's task instances by their ids."""
        return self.airflow.get_task_instances(self.dag_id, RUN_ID)

    def runs(self) -> list[DbtRun]:
        """Return dbt Cloud's runs, oldest first."""
        return self.stack.runs_of(self.job_id)

    def _active_runs(self) -> list[DbtRun]:
        return [run for run in self.runs() if run.active]

    def _what_it_says(self) -> tuple[str, tuple[str, ...]]:
        lines, words = [], []
        for task_id, task in self.tasks().items():
            for number in range(1, task["try_number"] + 1):
                for entry in self.airflow.get_log(self.dag_id, RUN_ID, task_id, number):
                    details = entry.get("error_detail") or []
                    errors = [f"{detail['exc_type']}: {detail['exc_value']}" for detail in details]
                    lines += [entry["event"], *errors]
                    if errors:
                        words.append(errors[0])
                    elif entry.get("level") == "warning" and ".operators." in entry.get("logger", ""):
                        words.append(entry["event"])
            results = self.airflow.get_xcom(self.dag_id, RUN_ID, task_id, "run_results")
            lines += [f"XCom run_results: {results}"] if results else []
        copes = [line for line in lines if re.match(COPES, line)]
        return "\n".join(lines), tuple(dict.fromkeys(words + copes))

"""Run one task instance through a random lifecycle: Airflow, people and failing machines act on it."""

import asyncio
import contextlib
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, cast
from uuid import UUID

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowTaskTimeout, TaskDeferred

import include.dbt_cloud
from include.dbt_cloud.operator import DbtCloudRunJobOperator
from include.dbt_cloud.run_tags import run_tag, tagged_cause
from include.dbt_cloud.trigger import DbtCloudRunJobTrigger
from tests.simulation import transport
from tests.simulation.clock import Clock, InlineThread, Process
from tests.simulation.cloud import JOB, MAX_LAG, Cloud, Run
from tests.simulation.oracle import Oracle
from tests.task_instance import Killed, Store, TaskInstance, context

LIBRARY = str(Path(include.dbt_cloud.__file__).parent)
TASK_STATES = "airflow.sdk.execution_time.task_runner.RuntimeTaskInstance.get_task_states"
# Seconds that Airflow gives a process between SIGTERM and SIGKILL.
GRACE = 5
Result = tuple[str, Any]


class _Store(Store):
    """The task state store as a process sees it: requests to Airflow's API that can fail."""

    def __init__(self, lifecycle: "Lifecycle", values: dict[str, str]) -> None:
        self.values, self.lifecycle = values, lifecycle

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value."""
        self.lifecycle.call_airflow()
        return super().get(key, default)

    def set(self, key: str, value: Any) -> None:
        """Store a value; an error does not tell whether it was stored."""
        if self.lifecycle.random.random() < 0.5:
            self.lifecycle.call_airflow()
            super().set(key, value)
        else:
            self.lifecycle.call_airflow(fails=False)
            super().set(key, value)
            self.lifecycle.call_airflow()


class _TaskInstance(TaskInstance):
    """A task instance as a process sees it."""

    lifecycle: "Lifecycle"

    def xcom_push(self, key: str, value: Any) -> None:
        """Store an XCom."""
        self.lifecycle.call_airflow()
        super().xcom_push(key, value)


def _holds_a_lock(frame: Any) -> bool:
    # Before Python 3.12 a cached property holds one that all processes of a simulation share.
    while frame and frame.f_code.co_name != "__get__":
        frame = frame.f_back
    return bool(frame)


@contextlib.contextmanager
def at_line(number: int, action: Callable[[], None]) -> Iterator[None]:
    """Do something before a line of the library: the n-th that is executed in this thread."""
    remaining, happened = number, list[bool]()

    def on_line(frame: Any, event: str, arg: Any) -> Any:
        nonlocal remaining
        if event == "line":
            remaining -= 1
            if remaining <= 0 and not happened and not _holds_a_lock(frame):
                happened.append(True)
                action()
        return on_line

    previous = sys.gettrace()
    if number:
        sys.settrace(lambda frame, *_: on_line if frame.f_code.co_filename.startswith(LIBRARY) else None)
    try:
        yield
    finally:
        sys.settrace(previous)


class Lifecycle:
    """The life of one task instance.

    :param seed: Everything that happens follows from it.
    :param calm: Nothing happens unless a test asks for it.
    :param arguments: Of the operator, in place of random ones.
    """

    def __init__(self, seed: int, calm: bool = False, **arguments: Any) -> None:
        self.seed, self.calm = seed, calm
        chance = self.random = Random(seed)
        # By itself, so that all else stays as it would be without it.
        self.foreign = Random(seed)
        self.clock = Clock(Process("Airflow"))
        self.oracle = Oracle(self.clock)
        self.cloud = Cloud(self.clock, chance, self.oracle.watch)
        self.oracle.runs = self.cloud.runs
        self.retries = 2 if calm else chance.choice([0, 1, 2, 3])
        self.generation = 0
        self.airflow_fails = 0.0
        self.secrets_fail_until = 0.0
        self.loses_store = self.oracle.loses_store = False if calm else chance.random() < 0.5
        self.arguments: dict[str, Any] = {
            "task_id": "trigger_job",
            "dbt_cloud_conn_id": "dbt_conn",
            "job_id": JOB,
            "check_interval": 10,
            "deferrable": True,
        } | (arguments if calm else self._draw_arguments() | arguments)
        # What interrupts the next process: an event, and the line or the seconds after which it happens.
        self.interrupts: list[tuple[str, int, float]] = []
        self.clears_left = 0 if calm else chance.choice([0, 1, 1, 2])
        self._begin_dag_run()
        if not calm:
            self._draw_surroundings()

    def _draw_arguments(self) -> dict[str, Any]:
        chance = self.random
        limit = chance.choice([None, None, None, 20, 120])
        return {
            "deferrable": chance.random() < 0.7,
            "outage_tolerance": chance.choice([60, 300, 1800]),
            "execution_timeout": timedelta(seconds=limit) if limit else None,
            "reuse_existing_run": chance.random() < 0.15,
            "retry_from_failure": chance.random() < 0.3,
        }

    def _draw_surroundings(self) -> None:
        chance, clock, cloud = self.random, self.clock, self.cloud
        cloud.rate = chance.choice([0, 0, 0.02, 0.1, 0.3])
        cloud.lag = chance.choice([0, 0, 2, MAX_LAG])
        cloud.endings = chance.choice([[10], [10], [10, 20], [20], [10, 20, 30]])
        cloud.late_cancels = chance.choice([0, 0, 0.3, 1])
        cloud.refuses_late_cancels = chance.random() < 0.2
        cloud.can_retry = chance.random() < 0.7
        cloud.filters_by_id = chance.random() < 0.9
        self.airflow_fails = chance.choice([0, 0, 0, 0.02, 0.2])
        for _ in range(chance.choice([0, 0, 1, 2])):
            begin = chance.uniform(0, 400)
            kind = chance.choice(["outage", "outage", "401", "403", "429", "timeout", "html"])
            cloud.windows.append((begin, begin + chance.choice([5, 60, 400]), kind))
        for _ in range(chance.choice([0, 0, 2, 5, 150])):
            clock.at(chance.uniform(0, 400), self._start_foreign_run)
        if chance.random() < 0.2:
            clock.at(chance.uniform(0, 300), self._rotate_token)
        if chance.random() < 0.1:
            clock.at(chance.uniform(0, 300), self._cancel_in_dbt_cloud)
        if chance.random() < 0.05:
            clock.at(chance.uniform(0, 300), self._delete_a_run)
        if chance.random() < 0.03:
            cloud.job_deleted_at = chance.uniform(0, 300)
        if chance.random() < 0.2:
            clock.at(chance.uniform(0, 300), self._set_the_clock)

    def note(self, event: str) -> None:
        """Add an event to the story."""
        self.oracle.note(event)

    # What others do.

    def _start_foreign_run(self) -> None:
        cause = "Triggered by somebody else"
        if self.random.random() < 0.3:
            # By another deployment of the same Dag, with a task instance of the same names.
            ti = TaskInstance(id=UUID(int=self.random.getrandbits(128)))
            cause = tagged_cause(ti, run_tag(ti, "another deployment"), "Triggered by Airflow")
        self.cloud.create(cause, None)

    def _rotate_token(self) -> None:
        self.cloud.token += "0"
        self.note("the token is rotated")
        delay = self.random.choice([1, 20, 200])
        self.clock.at(self.clock.now + delay, lambda: os.environ.update(connection(self.cloud.token)))

    def _own_active(self) -> list[Run]:
        return [run for run in self.cloud.runs.values() if run.owner and run.is_active(self.clock.now)]

    def _cancel_in_dbt_cloud(self) -> None:
        for run in self._own_active():
            self.note(f"a person cancels run {run.id} in dbt Cloud")
            run.cancel(self.clock.now, "person")

    def _delete_a_run(self) -> None:
        for run in self.cloud.runs.values():
            if run.owner:
                self.note(f"run {run.id} is deleted")
                run.deleted_at = self.clock.now

    def _set_the_clock(self) -> None:
        self.clock.wall_offset = self.random.uniform(-3000, 3000)
        self.oracle.clock_was_set = True
        self.note(f"the clocks of Airflow's machines jump by {self.clock.wall_offset:.0f} seconds")

    # Airflow.

    def call_airflow(self, fails: bool = True) -> None:
        """Let a request of a process to Airflow's API pass, or fail."""
        self.clock.current.check()
        if self.clock.current.is_stale:
            raise OSError("404: no such task instance")
        if fails and self.random.random() < self.airflow_fails:
            self.note("a request to Airflow fails")
            self.oracle.faults_of_airflow += 1
            raise OSError("the API server is gone")

    def task_states(self, dag_id: str, map_index: int, task_ids: list[str], run_ids: list[str]) -> Any:
        """Stand in for ``RuntimeTaskInstance.get_task_states``."""
        self.clock.current.check()
        if self.random.random() < self.airflow_fails:
            self.oracle.faults_of_airflow += 1
            raise OSError("the API server is gone")
        self.note(f"{self.clock.current.name} is told that the task is {self.state}")
        return {} if self.state == "deleted" else {run_ids[0]: {task_ids[0]: self.state}}

    def _begin_dag_run(self) -> None:
        self.ti = _TaskInstance(max_tries=self.retries, id=self._new_id())
        self.ti.lifecycle = self
        self.values: dict[str, str] = {}
        self.clear_number = 0
        self.state: str | None = "queued"

    def _new_id(self) -> UUID:
        return UUID(int=self.random.getrandbits(128))

    def _process(self, kind: str) -> Process:
        return Process(f"{kind} of try {self.ti.try_number}", self.generation, self.ti.try_number)

    def live(self) -> None:
        """Run the lifecycle to its end."""
        state = self._live_on()
        while state in ("success", "failed") and self.clears_left and self.random.random() < 0.5:
            self.clears_left -= 1
            is_deleted = self.state == "deleted"
            self._wait(None, self.random.choice([1, 100]))
            if is_deleted or self.random.random() < 0.2:
                self._recreate()
            else:
                self._clear()
            state = self._live_on()
        if not self.calm:
            # Let delayed requests take effect.
            self.clock.sleep(120)
        self.oracle.conclude(had_trouble=self.cloud.faults > 0)

    def _live_on(self) -> str:
        """Run tries until one is the last; return the task's final state."""
        while True:
            self._wait("scheduled", self.random.choice([0, 1, 60]))
            self._wait("queued", self.random.choice([0, 1, 60]))
            state, error = self._run_try()
            self.note(f"try {self.ti.try_number} ended: {state} {error!r:.300}")
            self.oracle.last_error = error
            if state == "failed":
                self.oracle.give_up()
            if state in ("success", "failed"):
                self.state = "deleted" if self.state == "deleted" else state
                return state
            if state == "retry":
                self._wait("up_for_retry", self.random.choice([0, 1, 60, 300]))
                if self.clears_left and self.random.random() < 0.1:
                    self.clears_left -= 1
                    self._clear()
                    continue
                if not self.calm and self.random.random() < 0.03:
                    self.oracle.decide("a person marks the waiting task failed", can_cancel=False)
                    return "failed"
                self.ti.try_number += 1
                self.ti.id = self._new_id()

    def _wait(self, state: str | None, seconds: float) -> None:
        self.state = state
        self.clock.sleep(seconds * self.random.random())

    def _clear(self, was_running: bool = False) -> None:
        """Clear the task; begin its next try."""
        self.oracle.decide("a person clears the task")
        self.clear_number += 1
        if not was_running:
            if not self.calm:
                self.retries = max(0, self.retries - self.random.choice([0, 0, 1, 2]))
            self.ti.max_tries = self.ti.try_number + self.retries
        if self.loses_store:
            self.values = {}
        self.state = "restarting" if was_running else None
        self.ti.try_number += 1
        self.ti.id = self._new_id()

    def _recreate(self) -> None:
        self.oracle.decide("a person deletes the Dag run; another one has the same id")
        self.generation += 1
        self.oracle.generation = self.generation
        self._begin_dag_run()

    def _run_try(self) -> Result:
        self.state = "running"
        result = self._in_worker(lambda operator, its_context: operator.execute(its_context), is_first=True)
        while result[0] == "deferred":
            result = self._defer(*result[1])
        return result

    def _in_worker(self, work: Callable[[Any, Any], Any], is_first: bool = False) -> Result:
        """Run a worker to its end: success, failed, retry, deferred or cleared, with the error or trigger."""
        process = self.oracle.process = self._process("worker")
        self.oracle.begin(is_first)
        requests, faults = len(self.cloud.requests), self.cloud.faults
        self.clock.current = process
        operator = DbtCloudRunJobOperator(retries=self.retries, **self.arguments)
        self.oracle.operator = operator
        its_context = context(self.ti, _Store(self, self.values), self.clear_number)
        interrupt, line, delay = self._draw_interrupt(operator, is_first)
        later: list[Result] = []
        happens = lambda: self._interrupt(interrupt, operator, process, later)  # noqa: E731
        if interrupt and not line:
            self.clock.at(self.clock.now + delay, happens, process)
        if operator.execution_timeout:
            due = self.clock.now + operator.execution_timeout.total_seconds()
            self.clock.at(due, lambda: self._time_out(process), process)
        try:
            with at_line(line if interrupt else 0, happens):
                result = self._judge(work(operator, its_context), operator)
        except TaskDeferred as deferred:
            process.has_deferred = True
            _, arguments = deferred.trigger.serialize()
            result = "deferred", (*json.loads(json.dumps([arguments, deferred.kwargs])), process)
        except (Exception, Killed, AirflowTaskTimeout) as error:
            self.oracle.watch_error(error, operator, its_context)
            result = self._fail(error)
        finally:
            self.clock.alarms = [one for one in self.clock.alarms if one.process is not process]
            self.clock.current = Process("Airflow")
        if (
            is_first
            and not interrupt
            and result[0] == "deferred"
            and (self.ti.try_number, faults) == (1, self.cloud.faults)
        ):
            self.oracle.check_first_try(self.cloud.requests[requests:], operator)
        if later:
            return self._join(later)
        if process.decision:
            if "could not be canceled" in str(result[1]):
                self.oracle.decide("", can_cancel=False)
            return self._carry_out(process.decision, result)
        return result

    def _judge(self, run_id: int, operator: DbtCloudRunJobOperator) -> Result:
        self.oracle.watch_success(run_id, operator)
        return "success", None

    def _fail(self, error: BaseException) -> Result:
        final = isinstance(error, AirflowFailException) or self.ti.try_number > self.ti.max_tries
        return "failed" if final else "retry", error

    def _draw_interrupt(self, operator: Any, is_first: bool) -> tuple[str, int, float]:
        if self.calm:
            return self.interrupts.pop(0) if self.interrupts else ("", 0, 0)
        if self.random.random() > 0.4:
            return "", 0, 0
        kinds = ["kill", "kill", "shutdown", "failed", "success", "deleted", "clear", "stall"]
        if operator.execution_timeout and is_first:
            kinds.append("time out")
        line = int(600 * self.random.random() ** 2) + 1 if self.random.random() < 0.7 else 0
        return self.random.choice(kinds), line, self.random.choice([1, 30, 200]) * self.random.random()

    def _interrupt(self, kind: str, operator: Any, process: Process, later: list[Result]) -> None:
        self.note(f"{kind}: {process.name}")
        match kind:
            case "kill":
                self._kill(process)
            case "time out":
                self._time_out(process)
            case "shutdown":
                self._terminate(operator, process)
            case "stall":
                self._stall(operator, process, later)
            case _:
                process.decision = kind
                self._set_state(kind)
                # Until the next heartbeat.
                self.clock.at(
                    self.clock.now + self.random.uniform(0, GRACE),
                    lambda: self._terminate(operator, process),
                    process,
                )

    def _set_state(self, decision: str) -> None:
        if decision == "clear":
            self.state = "restarting"
        else:
            self.state = decision
        self.oracle.decide(f"a person decides while a process works: {decision}")

    def _kill(self, process: Process) -> None:
        process.is_dead = True
        self.oracle.was_killed = True
        raise Killed(process.name)

    def _time_out(self, process: Process) -> None:
        self.note("execution_timeout")
        self.oracle.time_out()
        raise AirflowTaskTimeout("execution_timeout")

    def _terminate(self, operator: Any, process: Process) -> None:
        self.note(f"SIGTERM: {process.name}")
        self.clock.at(self.clock.now + GRACE, lambda: self._kill(process), process)
        faults = self._faults()
        try:
            operator.on_kill()
        finally:
            self._may_fail_to_cancel(faults)

    def _faults(self) -> tuple[int, int]:
        return self.cloud.faults, self.oracle.faults_of_airflow

    def _may_fail_to_cancel(self, faults_before: tuple[int, int]) -> None:
        if self._faults() != faults_before:
            self.oracle.decide("", can_cancel=False)

    def _stall(self, operator: Any, process: Process, later: list[Result]) -> None:
        """Let the process stand still while Airflow starts the next try; then let both run."""
        awake, over = threading.Event(), threading.Event()
        process.is_stale = True
        self.ti = _TaskInstance(**{**vars_of(self.ti), "xcoms": {}})
        self.ti.lifecycle = self
        delay, wait_until = self.random.choice([1, 60, 600]) * self.random.random(), self.clock.now
        result: list[Result] = []

        def go_on() -> None:
            self.clock.current = Process("Airflow")
            self.clock.at(wait_until + delay, wake)
            state, error = self._fail(Killed("heartbeat lost"))
            try:
                if state == "retry":
                    self.ti.try_number += 1
                    self.ti.id = self._new_id()
                    state = self._live_on()
                result.append(
                    (state, self.oracle.last_error if state != "failed" or error is None else error)
                )
            finally:
                awake.set()

        def wake() -> None:
            if awake.is_set():
                return
            mine, self.clock.current = self.clock.current, process
            awake.set()
            over.wait()
            self.clock.current = mine

        thread = threading.Thread(target=go_on)
        thread.start()
        awake.wait()
        self.clock.current = process
        later.append(("stalled", (thread, over, result)))
        self.note(f"{process.name} wakes")
        self.clock.at(
            self.clock.now + self.random.uniform(0, GRACE),
            lambda: self._terminate(operator, process),
            process,
        )

    def _join(self, later: list[Result]) -> Result:
        thread, over, result = later[0][1]
        over.set()
        thread.join()
        return result[0]

    def _carry_out(self, decision: str, result: Result) -> Result:
        match decision:
            case "clear":
                self.clear_number += 1
                if self.loses_store:
                    self.values = {}
                self.ti.try_number += 1
                self.ti.id = self._new_id()
                return "cleared", result[1]
            case "deleted":
                decision = "failed"
        # With its error: it may know of no run, or could not reach dbt Cloud.
        return decision, result[1] if isinstance(result[1], BaseException) else None

    # The triggerer.

    def _defer(self, arguments: dict[str, Any], kwargs: dict[str, Any], worker: Process) -> Result:
        """Wait in a triggerer, in another one after a failure, then resume in a new worker."""
        self.oracle.watch_deferral(arguments)
        while True:
            self.state = "deferred"
            process = self.clock.current = self._process("triggerer")
            trigger = DbtCloudRunJobTrigger(**arguments)
            trigger.task_instance = cast("Any", TaskInstance(**vars_of(self.ti)))
            kind, line, delay = self._draw_trigger_interrupt()
            stop: list[str] = []
            try:
                event = self._in_triggerer(trigger, process, kind, line, delay, stop)
            except Killed:
                event = None
            finally:
                self.clock.alarms = [one for one in self.clock.alarms if one.process is not process]
                self.clock.current = Process("Airflow")
            if event is not None:
                break
            if not stop:
                continue
            if stop[0] == "stall":
                due = self.clock.now + self.random.choice([1, 60, 300]) * self.random.random()
                self.clock.at(due, partial(self._kill_trigger, trigger, process))
                continue
            return self._end_deferred(stop[0], trigger, process)
        self.note(f"the trigger fires {event['status']}")
        if not self.calm and self.foreign.random() < 0.05:
            event |= {"run_id": 0, "status": self.foreign.choice(["success", "cancelled"])}
            self.note(f"Airflow delivers the event of another trigger: {event['status']}")
        self._wait("scheduled", self.random.choice([0, 1, 60]))
        self._wait("queued", self.random.choice([0, 1, 60]))
        self.state = "running"
        return self._in_worker(
            lambda operator, its_context: operator.execute_complete(its_context, event, **kwargs)
        )

    def _in_triggerer(
        self, trigger: Any, process: Process, kind: str, line: int, delay: float, stop: list[str]
    ) -> dict[str, Any] | None:
        async def wait() -> Any:
            task = asyncio.ensure_future(trigger.wait())
            if kind not in ("", "kill"):
                await asyncio.wait([task], timeout=delay)
                if not task.done():
                    stop.append(kind)
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
                    return None
            return (await task).payload

        def die() -> None:
            self.note(f"kill: {process.name}")
            process.is_dead = True
            raise Killed(process.name)

        with at_line(line if kind == "kill" else 0, die):
            return self.clock.run(wait())

    def _draw_trigger_interrupt(self) -> tuple[str, int, float]:
        if self.calm:
            return self.interrupts.pop(0) if self.interrupts else ("", 0, 0)
        if self.random.random() > 0.35:
            return "", 0, 0
        kind = self.random.choice(["kill", "stall", "failed", "success", "deleted", "clear"])
        return (
            kind,
            int(400 * self.random.random() ** 2) + 1,
            self.random.choice([1, 30, 200]) * self.random.random(),
        )

    def _end_deferred(self, decision: str, trigger: Any, process: Process) -> Result:
        """End the task by a person's decision while it is deferred."""
        if decision == "clear":
            self._clear()
        else:
            self._set_state(decision)
        dies = not self.calm and self.random.random() < 0.1
        if dies:
            self.note("the triggerer is killed before it cancels")
            self.oracle.decide("", can_cancel=False)
        elif not self.calm and self.random.random() < 0.2:
            due = self.clock.now + self.random.uniform(0, 30)
            self.clock.at(due, lambda: self._kill_trigger(trigger, process))
        else:
            self._kill_trigger(trigger, process)
        return ("cleared" if decision == "clear" else "failed" if decision == "deleted" else decision), None

    def _kill_trigger(self, trigger: Any, process: Process) -> None:
        """Call on_kill, and cancel it after about a second, as Airflow 3.3 does."""

        async def kill() -> None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(trigger.on_kill(), 1)
            await asyncio.sleep(30)

        self.note(f"on_kill: {process.name}, while the task is {self.state}")
        faults = self._faults()
        self.clock.aside(process, lambda: self.clock.run(kill()))
        self._may_fail_to_cancel(faults)


def vars_of(ti: TaskInstance) -> dict[str, Any]:
    """Return the fields of a task instance."""
    return {name: getattr(ti, name) for name in TaskInstance.__dataclass_fields__}


def connection(token: str) -> dict[str, str]:
    """Return the environment variable that sets the connection dbt_conn."""
    fields = {"conn_type": "dbt_cloud", "host": "cloud", "login": "1", "password": token}
    return {"AIRFLOW_CONN_DBT_CONN": json.dumps(fields)}


@contextlib.contextmanager
def simulated(lifecycle: Lifecycle) -> Iterator[Lifecycle]:
    """Replace the library's time, threads, connections and Airflow by a lifecycle's while the block runs."""
    clock, cloud = lifecycle.clock, lifecycle.cloud
    with pytest.MonkeyPatch.context() as patch:
        for module in ("submitter", "operator", "trigger", "poller", "exceptions"):
            patch.setattr(f"include.dbt_cloud.{module}.time", clock)
        for module in ("tenacity", "tenacity.nap"):
            patch.setattr(f"{module}.time", clock)
        for module in ("hook", "operator"):
            patch.setattr(f"include.dbt_cloud.{module}.Thread", InlineThread)
        patch.setattr("include.dbt_cloud.operator.asyncio.run", clock.run)
        patch.setattr("include.dbt_cloud.hook.DbtCloudHook.async_session", transport.Session.opener(cloud))
        patch.setattr(
            "requests.Session.send", lambda _, request, **more: transport.send(cloud, request, **more)
        )
        patch.setattr(TASK_STATES, lifecycle.task_states)
        patch.setenv("AIRFLOW_VAR_DBT_CLOUD_DEPLOYMENT_ID", "a-deployment")
        for name, value in connection(cloud.token).items():
            patch.setenv(name, value)
        yield lifecycle

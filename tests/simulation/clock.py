"""Simulated time: waiting takes no real time, and events happen during the wait when they are due."""

import asyncio
import contextlib
import selectors
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from include.dbt_cloud.poller import RunPoller
from tests.task_instance import Killed

# Of dbt Cloud's clock when a simulation begins: 2026-01-01.
EPOCH = 1767225600.0


@dataclass(eq=False)
class Process:
    """A worker or a triggerer.

    :param name: For the story of a lifecycle.
    :param generation: How often the Dag run had been recreated when the process started.
    :param is_stale: Whether Airflow considers the process dead although it still runs.
    """

    name: str
    generation: int = 0
    try_number: int = 0
    is_dead: bool = False
    is_stale: bool = False
    has_deferred: bool = False
    # What a person decided while the process ran.
    decision: str = ""

    def check(self) -> None:
        """Raise Killed if the process is dead: nothing that it does has an effect any more."""
        if self.is_dead:
            raise Killed(self.name)


@dataclass
class _Alarm:
    due: float
    action: Callable[[], Any]
    # Alarms of a process wait while another one runs.
    process: Process | None


@dataclass
class Clock:
    """Stands in for the module ``time``: a clock that only moves while somebody waits.

    Only ``time`` jumps; ``monotonic`` and dbt Cloud's own clock do not.
    """

    current: Process
    now: float = 0.0
    wall_offset: float = 0.0
    alarms: list[_Alarm] = field(default_factory=list)

    def time(self) -> float:
        """Return the time of Airflow's machines, which a person may set."""
        return EPOCH + self.now + self.wall_offset

    def monotonic(self) -> float:
        """Return the time that no one can set."""
        return self.now

    def at(self, due: float, action: Callable[[], Any], process: Process | None = None) -> None:
        """Call an action at a time; if a process is given, only while it runs, like a signal handler."""
        self.alarms.append(_Alarm(due, action, process))

    def sleep(self, seconds: float) -> None:
        """Let time pass, and call the actions that become due."""
        self.current.check()
        end = self.now + max(0.0, seconds)
        while due := [one for one in self.alarms if one.due <= end and one.process in (None, self.current)]:
            alarm = min(due, key=lambda one: one.due)
            self.alarms.remove(alarm)
            self.now = max(self.now, alarm.due)
            alarm.action()
            self.current.check()
        self.now = max(self.now, end)

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Stand in for ``asyncio.run``."""
        loop = _Loop(self)
        runner = asyncio.Runner(loop_factory=lambda: loop)
        try:
            return runner.run(coroutine)
        finally:
            loop.selector.has_died = True
            # A process that was killed leaves tasks behind, and this error when they are canceled.
            with contextlib.suppress(RuntimeError):
                runner.close()
            # A killed process takes its pollers with it.
            for key in [key for key in RunPoller._pollers if key[0] is loop]:
                del RunPoller._pollers[key]

    def aside(self, process: Process, action: Callable[[], Any]) -> None:
        """Do something in another process while the current one stands still."""
        interrupted, self.current = self.current, process
        try:
            # In a thread: the interrupted process may have a running event loop.
            thread = threading.Thread(target=action)
            thread.start()
            thread.join()
        finally:
            self.current = interrupted


class _Selector(selectors.SelectSelector):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.has_died = False

    def select(self, timeout: float | None = None) -> Any:
        # Also if the exception that killed it was raised in a task that nobody awaits.
        if self.clock.current.is_dead and not self.has_died:
            self.has_died = True
            raise Killed
        if (ready := super().select(0)) or timeout == 0 or self.has_died:
            return ready
        assert timeout is not None, "everything waits for nothing"
        self.clock.sleep(timeout)
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, clock: Clock) -> None:
        self.selector = _Selector(clock)
        super().__init__(self.selector)
        self.clock = clock
        self.set_exception_handler(lambda *_: None)

    def time(self) -> float:
        return self.clock.now

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]  # simpler
        # At once, so that a seed has one story.
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future


class InlineThread:
    """Stands in for ``Thread``: does its work at once."""

    def __init__(self, target: Callable[..., Any], args: Any = (), **_: Any) -> None:
        self.target, self.args = target, args

    def start(self) -> None:
        """Do the work."""
        try:
            self.target(*self.args)
        except Exception:
            return

    def join(self, timeout: float | None = None) -> None:
        """Return: the work is done."""

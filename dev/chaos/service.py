"""A process of the stack that can be killed, frozen and started again."""

import contextlib
from collections.abc import Mapping
from pathlib import Path

import psutil

from scripts.processes import running
from scripts.settings import PROJECT


class Service:
    """A command with all its descendants, such as a Celery worker with the tasks that it executes.

    :param logs: Directory for the logs; each start writes a new one.
    """

    def __init__(self, name: str, command: list[str], environment: Mapping[str, str], logs: Path) -> None:
        self.name = name
        self.frozen = False
        # Killed, and not yet started again.
        self.killed = False
        self.starts = 0
        self._command, self._environment, self._logs = command, environment, logs
        self._running = contextlib.ExitStack()

    def start(self) -> None:
        """Start the command."""
        self.starts += 1
        started = running(self._command, self._environment, PROJECT, self.log)
        self.process = self._running.enter_context(started)
        self.frozen = self.killed = False

    @property
    def log(self) -> Path:
        """The log of the last start."""
        return self._logs / f"{self.name}.{self.starts}.log"

    @property
    def is_alive(self) -> bool:
        """Whether its process exists, frozen or not."""
        return self.process.poll() is None

    def kill(self) -> None:
        """Kill all its processes at once, as a machine does that loses power."""
        self.killed = True
        for process in self._tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.stop()

    def freeze(self) -> None:
        """Stop all its processes, as a suspended machine does."""
        self.frozen = True
        for process in self._tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()

    def thaw(self) -> None:
        """Let all its processes continue."""
        self.frozen = False
        for process in self._tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    def stop(self) -> None:
        """Stop it cleanly, or clean up if it has already ended."""
        self._running.close()

    def _tree(self) -> list[psutil.Process]:
        try:
            process = psutil.Process(self.process.pid)
            return [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

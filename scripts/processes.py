"""Start processes, wait until they are ready, and stop them with all their descendants."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil

from scripts.exceptions import UserError

# Seconds between SIGINT and SIGTERM, and between SIGTERM and SIGKILL.
INTERRUPT_TIMEOUT = 5
TERMINATE_TIMEOUT = 3
# Ctrl-C, a CI job that is canceled, a terminal that is closed.
TERMINATION_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_returned_ports: set[int] = set()


def check_port_is_free(port: int, variable: str, service: str) -> None:
    """Check that nothing listens on a port.

    :param variable: Environment variable that sets the port.
    :param service: What needs the port.
    :raises UserError: The port is taken.
    """
    for host in ("127.0.0.1", "::1"):
        # An OSError is also raised where there is no IPv6.
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=5):
            alternative = port + 1000 if port < 60000 else port - 1000
            raise UserError(
                f"Port {port}, which {service} needs, is taken: stop what uses it, or choose another, "
                f"for example {variable}={alternative}, in .env or on the command line."
            )


def free_port() -> int:
    """Return a port on which nothing listens at the moment; another one each time."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        if port not in _returned_ports:
            _returned_ports.add(port)
            return port


@contextlib.contextmanager
def running(
    command: list[str], environment: Mapping[str, str], directory: Path, log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command while the block runs, then stop it and all its descendants.

    :param log: File for its output; overwritten.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        # A separate session: Ctrl-C reaches only this process, which stops the others in order.
        process = subprocess.Popen(
            command, env=environment, cwd=directory, stdin=subprocess.DEVNULL,
            stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        with _ignoring_termination_signals():
            _stop(process)


def wait_until(
    condition: Callable[[], bool], what: str, process: subprocess.Popen[bytes], log: Path, timeout: float
) -> None:
    """Wait until a condition is true.

    :param what: What becomes ready, as the subject of the error message.
    :param process: Process that must not exit meanwhile.
    :param log: Its log file, for the error message.
    :param timeout: Seconds.
    :raises UserError: The process exited, or the timeout passed.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if process.poll() is not None:
            raise UserError(f"{what} exited: {_last_line(log)} (log: {log})")
        if time.monotonic() > deadline:
            raise UserError(f"{what} is not ready after {timeout:.0f} seconds. See {log}")
        time.sleep(0.3)


@contextlib.contextmanager
def _ignoring_termination_signals() -> Iterator[None]:
    # A second Ctrl-C must not interrupt the cleanup.
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in TERMINATION_SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _stop(process: subprocess.Popen[bytes]) -> None:
    try:
        descendants = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        descendants = []
    # To the whole group, as Ctrl-C in a terminal would: Airflow's components stop in parallel.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(INTERRUPT_TIMEOUT)
    # psutil checks that a process ID was not reused.
    for descendant in descendants:
        with contextlib.suppress(psutil.NoSuchProcess):
            descendant.terminate()
    _, alive = psutil.wait_procs(descendants, timeout=TERMINATE_TIMEOUT)
    for descendant in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            descendant.kill()
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "no output"

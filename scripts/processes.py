"""Starts the processes of the local stack and stops all of them, with whatever they started themselves."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil

from scripts.failure import Failure

SECONDS_TO_STOP = 5

# What asks us to end: Ctrl-C, a CI that ends a job, a terminal that is closed.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def check_port_is_free(port: int, variable: str, user: str) -> None:
    """Raise a Failure that names the variable if something listens on a port already."""
    for host in ("127.0.0.1", "::1"):
        # No connection is good news, also where there is no IPv6.
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=5):
            raise Failure(
                f"Port {port}, which {user} needs, is taken: stop what uses it, or choose another, "
                f"for example {variable}={_another(port)}, in .env or on the command line."
            )


def _another(port: int) -> int:
    return port + 1000 if port < 60000 else port - 1000


def free_port() -> int:
    """Return a port that nothing listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(
    command: list[str], environment: Mapping[str, str], directory: Path, log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command while the block runs; then stop it and all it started.

    :param log: the file that takes what it prints, written anew.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        # A session of its own: Ctrl-C reaches us alone, and we stop the rest in order.
        process = subprocess.Popen(
            command, env=environment, cwd=directory, stdin=subprocess.DEVNULL,
            stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    # A second Ctrl-C must not leave half of it running.
    before = {number: signal.signal(number, signal.SIG_IGN) for number in ENDING}
    try:
        _end_all(process)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_all(process: subprocess.Popen[bytes]) -> None:
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    # To the whole group, as Ctrl-C in a terminal would: Airflow's parts stop side by side.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(SECONDS_TO_STOP)
    # Whoever did not follow: psutil checks that a process id still means the same process.
    for one in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.terminate()
    _, alive = psutil.wait_procs(family, timeout=3)
    for one in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_until(
    condition: Callable[[], bool], what: str, process: subprocess.Popen[bytes], log: Path, seconds: float
) -> None:
    """Wait until ``condition()`` holds.

    :param what: what is waited for, as the subject of a sentence.
    :raises Failure: the process ended, or the time is over; says where its log is.
    """
    end = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None:
            raise Failure(f"{what} ended at once: {_last_line(log)} (log: {log})")
        if time.monotonic() > end:
            raise Failure(f"{what} is not ready after {seconds:.0f} seconds: see {log}")
        time.sleep(0.3)


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it printed nothing"

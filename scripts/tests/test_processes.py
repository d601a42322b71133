"""Processes of the stack: how they stop, and the errors when they do not start."""

import os
import socket
import sys
from pathlib import Path

import psutil
import pytest

from scripts.exceptions import UserError
from scripts.processes import check_port_is_free, free_port, running, wait_until
from scripts.stack import find_command

# A process that ignores SIGINT, with a child that ignores it too.
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
if len(sys.argv) < 2:
    subprocess.Popen([sys.executable, __file__, "child"])
print("ready", flush=True)
time.sleep(600)
"""


@pytest.mark.end_to_end
def test_descendants_that_ignore_sigint_are_stopped(tmp_path: Path) -> None:
    script = tmp_path / "stubborn.py"
    script.write_text(STUBBORN)
    log = tmp_path / "log"
    with running([sys.executable, str(script)], os.environ, tmp_path, log) as process:
        wait_until(lambda: log.read_text().count("ready") == 2, "Airflow", process, log, 30)
        processes = [psutil.Process(process.pid), *psutil.Process(process.pid).children()]
        assert len(processes) == 2
    # A zombie has exited; its parent has not read the exit code yet.
    assert not [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def test_error_of_a_process_that_exits_has_its_last_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-c", "import sys; sys.exit('the reason')"]
    with running(command, os.environ, tmp_path, log) as process:
        with pytest.raises(UserError, match="Airflow exited: the reason"):
            wait_until(lambda: False, "Airflow", process, log, 30)


def test_error_of_a_process_that_is_not_ready_names_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running(["sleep", "600"], os.environ, tmp_path, log) as process:
        with pytest.raises(UserError, match=f"Airflow is not ready after 0 seconds. See {log}"):
            wait_until(lambda: False, "Airflow", process, log, 0.1)


def test_error_of_a_taken_port_names_the_variable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"Port {port}, which Airflow needs, is taken.*AIRFLOW_PORT="):
            check_port_is_free(port, "AIRFLOW_PORT", "Airflow")
    check_port_is_free(free_port(), "AIRFLOW_PORT", "Airflow")


def test_error_of_a_missing_command_names_its_directory() -> None:
    with pytest.raises(UserError, match=r"no-such-command is not installed in .*/bin: run a make command"):
        find_command("no-such-command")

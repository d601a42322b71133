"""The processes of the stack: nothing stays behind, and a start that fails says why."""

import os
import socket
import sys
from pathlib import Path

import psutil
import pytest

from scripts.failure import Failure
from scripts.processes import check_port_is_free, free_port, running, wait_until
from scripts.stack import installed

# A process that ignores Ctrl-C and has a child that does too.
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
if len(sys.argv) < 2:
    subprocess.Popen([sys.executable, __file__, "child"])
print("ready", flush=True)
time.sleep(600)
"""


@pytest.mark.end_to_end
def test_what_a_process_started_ends_with_it_even_if_it_ignores_ctrl_c(tmp_path: Path) -> None:
    script = tmp_path / "stubborn.py"
    script.write_text(STUBBORN)
    log = tmp_path / "log"
    with running([sys.executable, str(script)], os.environ, tmp_path, log) as process:
        wait_until(lambda: log.read_text().count("ready") == 2, "It", process, log, 30)
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children()]
        assert len(family) == 2
    # An ended process whose parent has not asked for its exit code yet is a zombie.
    assert not [one for one in family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def test_a_process_that_ends_at_once_is_a_sentence_with_its_last_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-c", "import sys; sys.exit('the reason')"]
    with running(command, os.environ, tmp_path, log) as process:
        with pytest.raises(Failure, match="It ended at once: the reason"):
            wait_until(lambda: False, "It", process, log, 30)


def test_a_process_that_is_never_ready_is_a_sentence_with_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running(["sleep", "600"], os.environ, tmp_path, log) as process:
        with pytest.raises(Failure, match=f"It is not ready after 0 seconds: see {log}"):
            wait_until(lambda: False, "It", process, log, 0.1)


def test_a_taken_port_is_a_sentence_that_names_the_variable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Failure, match=f"Port {port}, which Airflow needs, is taken.*AIRFLOW_PORT="):
            check_port_is_free(port, "AIRFLOW_PORT", "Airflow")
    check_port_is_free(free_port(), "AIRFLOW_PORT", "Airflow")


def test_a_command_that_is_not_installed_is_a_sentence() -> None:
    with pytest.raises(Failure, match=r"no-such-command is not installed in .*/bin: use make"):
        installed("no-such-command")

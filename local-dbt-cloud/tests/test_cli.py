"""The command `python -m local_dbt_cloud`: start, stop, kill, and error messages."""

import contextlib
import os
import re
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tiny_account import QUICK, SLOW

pytestmark = pytest.mark.end_to_end
needs_rlimit = pytest.mark.skipif(
    not hasattr(psutil, "RLIMIT_FSIZE"), reason="needs Linux, to limit the file size of a running process"
)


@dataclass
class Command:
    """A running command and a client of its account."""

    process: subprocess.Popen[str]
    client: httpx.Client
    pages_url: str


def arguments(data_dir: Path, *more: str) -> list[str]:
    ports = ["--api-port", "0", "--pages-port", "0"]
    return [sys.executable, "-m", "local_dbt_cloud", *ports, "--data-dir", str(data_dir), *more]


@contextmanager
def started(data_dir: Path, *more: str, **environment: str) -> Iterator[Command]:
    process = subprocess.Popen(
        arguments(data_dir, *more), cwd=tempfile.gettempdir(), env=os.environ | environment,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout
        line = process.stdout.readline()
        match = re.search(r"API (\S+), pages (\S+),", line)
        assert match, line
        client = httpx.Client(
            base_url=f"{match[1]}/api/v2/accounts/1/",
            headers={"Authorization": f"Token {environment.get('LOCAL_DBT_CLOUD_TOKEN', 'local-token')}"},
            verify=ssl.create_default_context(cafile=str(data_dir / "ca-bundle.pem")),
            trust_env=False,
        )
        with client:
            yield Command(process, client, match[2])
    finally:
        process.kill()
        process.wait()


def error_output(data_dir: Path, *more: str, **environment: str) -> str:
    """Run the command, which must fail; return its error output."""
    done = subprocess.run(
        arguments(data_dir, *more), cwd=tempfile.gettempdir(), env=os.environ | environment,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def wait_for(client: httpx.Client, run_id: int, statuses: set[int]) -> dict[str, Any]:
    end = time.monotonic() + 60
    while True:
        run = client.get(f"runs/{run_id}/", params={"include_related": "run_steps"}).json()["data"]
        if run["status"] in statuses:
            return run
        assert time.monotonic() < end, run["status_humanized"]
        time.sleep(0.1)


def dbt_processes(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def test_sigint_and_sigterm_stop_it(tmp_path: Path) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        with started(tmp_path / "data") as command:
            assert command.client.get("").status_code == 200
            command.process.send_signal(number)
            assert command.process.wait(timeout=30) == 0


def test_it_listens_on_localhost_only(tmp_path: Path) -> None:
    with started(tmp_path / "data") as command:
        listening = psutil.Process(command.process.pid).net_connections("inet")
        assert {connection.laddr.ip for connection in listening} == {"127.0.0.1"}


def test_token_comes_from_environment_and_is_never_written(tmp_path: Path) -> None:
    with started(tmp_path / "data", LOCAL_DBT_CLOUD_TOKEN="another-token") as command:
        assert command.client.get("").status_code == 200
        wrong = {"Authorization": "Token local-token"}
        assert command.client.get("", headers=wrong).status_code == 401
        command.process.send_signal(signal.SIGTERM)
        assert command.process.stdout
        assert "another-token" not in command.process.stdout.read()
    for path in (tmp_path / "data").rglob("*"):
        assert not path.is_file() or b"another-token" not in path.read_bytes(), path


def test_port_in_use_is_reported_with_its_variable(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for name in ("api", "pages"):
            message = f"set --{name}-port or LOCAL_DBT_CLOUD_{name.upper()}_PORT to a free port"
            assert message in error_output(tmp_path / "data", f"--{name}-port", port)
    assert "Cannot listen on port 70000" in error_output(tmp_path / "data", "--api-port", "70000")


def test_second_process_in_a_data_directory_is_rejected(tmp_path: Path) -> None:
    with started(tmp_path / "data") as command:
        assert "Another local dbt Cloud uses" in error_output(tmp_path / "data")
        assert command.client.get("").status_code == 200


def test_non_sqlite_state_file_is_reported_and_kept(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "state.sqlite").write_bytes(b"this is not a database" * 100)
    assert (
        "(file is not a database). Stop the local dbt Cloud and restore the file from a backup"
        in error_output(data)
    )
    assert (data / "state.sqlite").read_bytes() == b"this is not a database" * 100


def test_unwritable_data_directory_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "LOCAL_DBT_CLOUD_DATA_DIR to a writable directory" in error_output(tmp_path / "file" / "data")


def test_damaged_state_file_is_reported_and_kept(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with started(data, "--history", "500"):
        pass
    # Move the data from the write-ahead log into the file.
    with contextlib.closing(sqlite3.connect(data / "state.sqlite")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    state = bytearray((data / "state.sqlite").read_bytes())
    state[20_000:60_000] = b"x" * 40_000
    (data / "state.sqlite").write_bytes(state)
    assert "restore the file from a backup" in error_output(data)
    assert (data / "state.sqlite").read_bytes() == state


def test_missing_state_file_is_not_replaced_if_artifacts_exist(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "runs" / "1").mkdir(parents=True)
    assert f"{data / 'state.sqlite'} is missing" in error_output(data)
    assert not (data / "state.sqlite").exists()


def execute_sql(statement: str) -> Callable[[Path], None]:
    def execute(data: Path) -> None:
        with contextlib.closing(sqlite3.connect(data / "state.sqlite")) as connection:
            connection.execute(statement)
            connection.commit()

    return execute


def make_unwritable(data: Path) -> None:
    (data / "state.sqlite").unlink()
    (data / "state.sqlite").symlink_to(data / "missing" / "state.sqlite")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (execute_sql("DROP TABLE jobs"), "no such table: jobs). Stop the local dbt Cloud and restore"),
        (execute_sql("UPDATE jobs SET definition = '{'"), "). Stop the local dbt Cloud and restore"),
        (make_unwritable, "Cannot write ([Errno 2] No such file or directory"),
    ],
)
def test_unusable_state_file_is_reported(
    tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    with started(tmp_path):
        pass
    damage(tmp_path)
    assert message in error_output(tmp_path)


def test_locked_state_file_is_reported_at_start(tmp_path: Path) -> None:
    with started(tmp_path):
        pass
    with contextlib.closing(sqlite3.connect(tmp_path / "state.sqlite")) as other:
        other.execute("BEGIN IMMEDIATE")
        assert "Another program has locked it" in error_output(tmp_path)


@needs_rlimit
def test_full_disk_at_the_first_start_is_reported(tmp_path: Path) -> None:
    limit = "import resource, runpy; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); "
    command = [sys.executable, "-c", limit + "runpy.run_module('local_dbt_cloud', run_name='__main__')"]
    done = subprocess.run(
        [*command, *arguments(tmp_path)[3:]], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr.startswith("local dbt Cloud: Cannot write ([Errno 27] File too large"), done.stderr
    assert "free disk space" in done.stderr
    assert done.stderr.count("\n") == 1


@needs_rlimit
def test_full_disk_is_reported_and_recovered_from(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with started(data) as command:
        body = {
            "name": "x",
            "environment_id": 1,
            "execute_steps": ["dbt build"],
            "description": "x" * 20_000,
        }
        # Files cannot grow, as on a full disk.
        size = (data / "state.sqlite-wal").stat().st_size
        psutil.Process(command.process.pid).rlimit(psutil.RLIMIT_FSIZE, (size, psutil.RLIM_INFINITY))
        answer = command.client.post("jobs/", json=body)
        assert answer.status_code == 500
        assert "Free some disk space" in answer.json()["status"]["user_message"]
        assert len(command.client.get("jobs/").json()["data"]) == 3
        unlimited = (psutil.RLIM_INFINITY, psutil.RLIM_INFINITY)
        psutil.Process(command.process.pid).rlimit(psutil.RLIMIT_FSIZE, unlimited)
        assert command.client.post("jobs/", json=body).json()["data"]["id"] == 100001


@needs_rlimit
def test_full_disk_at_the_end_of_a_run_loses_no_run(tmp_path: Path, tiny_account: Path) -> None:
    data = tmp_path / "data"
    with started(data, "--account", str(tiny_account)) as command:
        run_id = command.client.post(f"jobs/{SLOW}/run/", json={"cause": "a test"}).json()["data"]["id"]
        wait_for(command.client, run_id, {3})
        process = psutil.Process(command.process.pid)
        process.rlimit(psutil.RLIMIT_FSIZE, (0, psutil.RLIM_INFINITY))
        for child in process.children(recursive=True):
            child.kill()
        time.sleep(1)
        process.rlimit(psutil.RLIMIT_FSIZE, (psutil.RLIM_INFINITY, psutil.RLIM_INFINITY))
        run = wait_for(command.client, run_id, {20})
        assert run["status_message"]
        after = command.client.post(f"jobs/{QUICK}/run/", json={"cause": "a test"}).json()["data"]["id"]
        assert wait_for(command.client, after, {10, 20, 30})["status"] == 10


def test_locked_state_file_is_reported(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with started(data) as command, contextlib.closing(sqlite3.connect(data / "state.sqlite")) as other:
        other.execute("BEGIN IMMEDIATE")
        answer = command.client.post("jobs/101/run/", json={"cause": "a test"})
        assert answer.status_code == 500
        assert "Another program has locked it" in answer.json()["status"]["user_message"]
        other.rollback()
        assert command.client.post("jobs/101/run/", json={"cause": "a test"}).status_code == 200


@pytest.mark.parametrize("count", ["-1", "9" * 30])
def test_invalid_history_is_reported(tmp_path: Path, count: str) -> None:
    assert "--history must be between" in error_output(tmp_path / "data", "--history", count)


def test_history_is_generated_once_before_serving(tmp_path: Path) -> None:
    for _ in range(2):
        with started(tmp_path / "data", "--history", "1000") as command:
            extra = command.client.get("runs/?limit=1").json()["extra"]
            assert extra["pagination"]["total_count"] == 1000


def test_kill_during_writes_loses_no_acknowledged_run(tmp_path: Path) -> None:
    data, answered = tmp_path / "data", 0
    for attempt in range(3):
        with started(data) as command:
            assert (
                command.client.get("runs/?limit=1").json()["extra"]["pagination"]["total_count"] >= answered
            )
            killer = threading.Timer(0.3 + 0.2 * attempt, command.process.kill)
            killer.start()
            try:
                while True:
                    made = command.client.post("jobs/101/run/", json={"cause": "a test"}).json()["data"]["id"]
                    answered += 1
                    assert made >= answered
            except httpx.TransportError:
                killer.join()
    assert answered > 3
    with started(data) as command:
        runs = command.client.get("runs/?limit=100").json()
        # In each round, the response to one more stored run may have been lost.
        assert answered <= runs["extra"]["pagination"]["total_count"] <= answered + 3
        assert {run["status"] for run in runs["data"]} == {30}
        assert all(run["status_message"] and run["finished_at"] for run in runs["data"])


def test_invalid_account_file_and_token_are_reported(tmp_path: Path) -> None:
    assert "Cannot read the account file" in error_output(
        tmp_path / "data", "--account", str(tmp_path / "none")
    )
    for token in ("", os.fsdecode(b"\xff"), "t\u00f6ken", "token\n"):
        output = error_output(tmp_path / "data", LOCAL_DBT_CLOUD_TOKEN=token)
        assert "LOCAL_DBT_CLOUD_TOKEN is empty or not printable ASCII" in output


def test_kill_stops_dbt_and_the_next_start_recovers(tmp_path: Path, tiny_account: Path) -> None:
    account = ("--account", str(tiny_account))
    with started(tmp_path / "data", *account) as command:
        running = command.client.post(f"jobs/{SLOW}/run/", json={"cause": "a test"}).json()["data"]["id"]
        # Wait until dbt runs the endless query.
        while "Concurrency" not in str(wait_for(command.client, running, {1, 2, 3})["run_steps"]):
            time.sleep(0.1)
        children = dbt_processes(command.process)
        assert children
        os.kill(command.process.pid, signal.SIGKILL)
        _, alive = psutil.wait_procs(children, timeout=20)
        assert not alive
        assert (tmp_path / "data" / "runs" / str(running) / "project").exists()
    with started(tmp_path / "data", *account) as command:
        assert not (tmp_path / "data" / "runs" / str(running) / "project").exists()
        run = wait_for(command.client, running, {30})
        assert run["status_message"] == "The local dbt Cloud was stopped while this run was running."
        assert {step["status"] for step in run["run_steps"]} <= {10, 30}
        after = command.client.post(f"jobs/{QUICK}/run/", json={"cause": "a test"}).json()["data"]["id"]
        assert after > running
        assert wait_for(command.client, after, {10, 20, 30})["status"] == 10


def test_token_is_in_no_environment_that_a_step_can_read(tmp_path: Path) -> None:
    with started(tmp_path / "data", LOCAL_DBT_CLOUD_TOKEN="another-token") as command:
        assert command.client.get("").status_code == 200
        environment = psutil.Process(command.process.pid).environ()
        assert environment["PATH"] == os.environ["PATH"]
        assert "another-token" not in str(environment)


def test_idle_connections_do_not_block_new_ones(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limits[1] != resource.RLIM_INFINITY and limits[1] < 4096:
        pytest.skip("the system permits too few open files")
    # The command inherits the usual limit of 1,024 open files.
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, limits[1]))
    try:
        with contextlib.ExitStack() as stack:
            command = stack.enter_context(started(tmp_path / "data"))
            resource.setrlimit(resource.RLIMIT_NOFILE, (4096, limits[1]))
            address = (command.client.base_url.host, command.client.base_url.port or 443)
            for _ in range(1500):
                stack.enter_context(socket.create_connection(address, timeout=10))
            assert command.client.get("").status_code == 200
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)

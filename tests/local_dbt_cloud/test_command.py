"""The command `python -m include.local_dbt_cloud`: how it starts, is killed, and says what is wrong."""

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.conftest import PROJECT, TEST_HOME
from tests.local_dbt_cloud.conftest import QUICK, SLOW

pytestmark = pytest.mark.end_to_end


@dataclass
class Command:
    """A running command and a client of its account."""

    process: subprocess.Popen[str]
    client: httpx.Client
    pages_url: str


# The commands run where there is no .env: that of the project may hold a real account.
IMPORTS = {"PYTHONPATH": str(PROJECT)}


def arguments(data_dir: Path, *more: str) -> list[str]:
    ports = ["--api-port", "0", "--pages-port", "0"]
    return [sys.executable, "-m", "include.local_dbt_cloud", *ports, "--data-dir", str(data_dir), *more]


@contextmanager
def started(data_dir: Path, *more: str, **environment: str) -> Iterator[Command]:
    process = subprocess.Popen(
        arguments(data_dir, *more), cwd=TEST_HOME, env=os.environ | IMPORTS | environment,
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


def refusal(data_dir: Path, *more: str, **environment: str) -> str:
    """Run the command, which must end at once; return what it says."""
    done = subprocess.run(
        arguments(data_dir, *more), cwd=TEST_HOME, env=os.environ | IMPORTS | environment,
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


def dbt_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def test_it_stops_when_told(tmp_path: Path) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        with started(tmp_path / "data") as command:
            assert command.client.get("").status_code == 200
            command.process.send_signal(number)
            assert command.process.wait(timeout=30) == 0


def test_it_listens_on_this_machine_alone(tmp_path: Path) -> None:
    with started(tmp_path / "data") as command:
        listening = psutil.Process(command.process.pid).net_connections("inet")
        assert {connection.laddr.ip for connection in listening} == {"127.0.0.1"}


def test_the_token_is_the_one_of_the_environment_and_is_not_printed(tmp_path: Path) -> None:
    with started(tmp_path / "data", LOCAL_DBT_CLOUD_TOKEN="another-token") as command:
        assert command.client.get("").status_code == 200
        wrong = {"Authorization": "Token local-token"}
        assert command.client.get("", headers=wrong).status_code == 401
        command.process.send_signal(signal.SIGTERM)
        assert command.process.stdout
        assert "another-token" not in command.process.stdout.read()
    for path in (tmp_path / "data").rglob("*"):
        assert not path.is_file() or b"another-token" not in path.read_bytes(), path


def test_a_taken_port_is_a_sentence_that_names_the_variable(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert "set LOCAL_DBT_CLOUD_API_PORT to" in refusal(tmp_path / "data", "--api-port", port)
        assert "set LOCAL_DBT_CLOUD_PAGES_PORT to" in refusal(tmp_path / "data", "--pages-port", port)
    assert "Cannot listen on port 70000" in refusal(tmp_path / "data", "--api-port", "70000")


def test_a_second_one_in_the_same_directory_is_refused(tmp_path: Path) -> None:
    with started(tmp_path / "data") as command:
        assert "Another local dbt Cloud uses" in refusal(tmp_path / "data")
        assert command.client.get("").status_code == 200


def test_a_state_file_that_is_none_is_left_as_it_is(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "state.sqlite").write_bytes(b"this is not a database" * 100)
    assert "(file is not a database): stop the local dbt Cloud and put a copy of the file back" in refusal(
        data
    )
    assert (data / "state.sqlite").read_bytes() == b"this is not a database" * 100


def test_a_directory_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "set LOCAL_DBT_CLOUD_DATA_DIR to a directory of yours" in refusal(tmp_path / "file" / "data")


def test_an_account_file_that_is_wrong_is_a_sentence(tmp_path: Path) -> None:
    assert "Cannot read the account file" in refusal(tmp_path / "data", "--account", str(tmp_path / "none"))
    assert "LOCAL_DBT_CLOUD_TOKEN is empty" in refusal(tmp_path / "data", LOCAL_DBT_CLOUD_TOKEN="")


def test_after_a_kill_its_dbt_is_gone_and_the_next_one_goes_on(tmp_path: Path, tiny_account: Path) -> None:
    account = ("--account", str(tiny_account))
    with started(tmp_path / "data", *account) as command:
        running = command.client.post(f"jobs/{SLOW}/run/", json={"cause": "a test"}).json()["data"]["id"]
        # Not before the query that never ends: the steps before it end by themselves.
        while "Concurrency" not in str(wait_for(command.client, running, {1, 2, 3})["run_steps"]):
            time.sleep(0.1)
        family = dbt_of(command.process)
        assert family
        os.kill(command.process.pid, signal.SIGKILL)
        _, alive = psutil.wait_procs(family, timeout=20)
        assert not alive
    with started(tmp_path / "data", *account) as command:
        run = wait_for(command.client, running, {30})
        assert run["status_message"] == "The local dbt Cloud was stopped while this run was running."
        assert {step["status"] for step in run["run_steps"]} <= {10, 30}
        after = command.client.post(f"jobs/{QUICK}/run/", json={"cause": "a test"}).json()["data"]["id"]
        assert after > running
        assert wait_for(command.client, after, {10, 20, 30})["status"] == 10

"""The command `local-dbt-cloud run -- COMMAND`."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from local_dbt_cloud.cli import parse_arguments

pytestmark = pytest.mark.end_to_end

# Requests the account with the settings in its environment, and prints the name and these settings.
CLIENT = """
import json, os, ssl, sys, urllib.request
connection = json.loads(os.environ[sys.argv[1]])
request = urllib.request.Request(
    f"https://{connection['host']}/api/v2/accounts/{connection['login']}/",
    headers={"Authorization": "Token " + os.environ["DBT_CLOUD_TOKEN"]},
)
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler())
account = json.load(opener.open(request))["data"]
print(account["name"], connection["password"], os.environ["DBT_CLOUD_HOST_URL"])
sys.exit(3)
"""


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "local_dbt_cloud", *arguments]


def run(*arguments: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), cwd=directory, capture_output=True, text=True, timeout=60, check=False
    )


def test_command_finds_the_local_dbt_cloud(tmp_path: Path) -> None:
    client = [sys.executable, "-c", CLIENT, "AIRFLOW_CONN_DBT_CONN"]
    done = run("--airflow-connection", "dbt_conn", "run", "--", *client, directory=tmp_path)
    # The exit code is that of the command.
    assert done.returncode == 3, done.stderr
    assert done.stdout.startswith("Local account local-token https://localhost:")
    assert "Traceback" not in done.stderr
    # The data was temporary.
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "code"), [("./missing", 127), ("./not_executable", 126)])
def test_command_that_cannot_be_started_is_reported(tmp_path: Path, name: str, code: int) -> None:
    (tmp_path / "not_executable").touch(mode=0o600)
    # The default of the command without run.
    done = run("--data-dir", ".local_dbt_cloud", "run", "--", name, directory=tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)
    assert f"Cannot run {name}: " in done.stderr
    assert (tmp_path / ".local_dbt_cloud" / "state.sqlite").is_file()


@pytest.mark.parametrize("arguments", [["run"], ["--", "true"], ["run", "--"]])
def test_run_without_a_command_or_a_command_without_run_is_rejected(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(arguments)
    assert "run needs a command after --" in capsys.readouterr().err


# Exits with 100 and the number of signals that it received.
COUNT_SIGNALS = """
import pathlib, signal, sys, time
received = []
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda number, _: received.append(number))
pathlib.Path("up").touch()
while not received:
    time.sleep(0.05)
time.sleep(0.5)
sys.exit(100 + len(received))
"""


def wait_for_file(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_is_passed_on(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "tmp").mkdir()
    process = subprocess.Popen(
        command("run", "--", sys.executable, "-c", COUNT_SIGNALS), cwd=tmp_path,
        env=os.environ | {"TMPDIR": str(tmp_path / "tmp")}, start_new_session=True,
    )  # fmt: skip
    try:
        wait_for_file(tmp_path / "up")
        process.send_signal(number)
        assert process.wait(30) == 101
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_command_that_a_signal_ends_has_the_exit_code_of_a_shell(tmp_path: Path) -> None:
    script = "import os; os.kill(os.getpid(), 15)"
    assert run("run", "--", sys.executable, "-c", script, directory=tmp_path).returncode == 128 + 15


def test_ctrl_c_in_a_terminal_reaches_the_command_once(tmp_path: Path) -> None:
    # Runs its arguments in a new terminal, whose keyboard is standard input.
    terminal = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
    process = subprocess.Popen(
        [sys.executable, "-c", terminal, *command("run", "--", sys.executable, "-c", COUNT_SIGNALS)],
        cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for_file(tmp_path / "up")
        assert process.stdin
        process.stdin.write(b"\x03")
        process.stdin.flush()
        assert process.wait(30) == 101
    finally:
        process.kill()

"""The command `local-dbt-cloud run -- COMMAND`."""

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


def test_command_that_cannot_be_started_is_reported(tmp_path: Path) -> None:
    done = run("--data-dir", "data", "run", "--", "no-such-command", directory=tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "Cannot run no-such-command" in done.stderr
    assert (tmp_path / "data" / "state.sqlite").is_file()


@pytest.mark.parametrize("arguments", [["run"], ["--", "true"], ["run", "--"]])
def test_run_without_a_command_or_a_command_without_run_is_rejected(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(arguments)
    assert "run needs a command after --" in capsys.readouterr().err


def test_sigterm_is_passed_on(tmp_path: Path) -> None:
    script = f"import pathlib, time; pathlib.Path({str(tmp_path / 'up')!r}).touch(); time.sleep(60)"
    process = subprocess.Popen(command("run", "--", sys.executable, "-c", script), cwd=tmp_path)
    deadline = time.monotonic() + 30
    while not (tmp_path / "up").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(30) == 128 + signal.SIGTERM
    assert [path.name for path in tmp_path.iterdir()] == ["up"]

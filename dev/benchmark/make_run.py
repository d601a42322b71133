"""Benchmark `make run` in a clean clone, with a warm package cache."""

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

from dev.benchmark.context import BenchmarkContext
from dev.benchmark.result import OURS, BenchmarkResult, Row, Target
from dev.temporary_stack import clean_environment, settings_in
from scripts.exceptions import UserError
from scripts.processes import running
from scripts.settings import PROJECT

MAX_SECONDS = 90
COMMAND_TIMEOUT = 900

METHOD = (
    "`make run` in a `git clone` of this repository at {commit}, measured once: it creates the environment, "
    "starts the local dbt Cloud and Airflow, runs the Dag twice, and stops. The environment was created once "
    "before and deleted, so that the packages are in the cache of the machine."
)


def measure(context: BenchmarkContext) -> BenchmarkResult:
    """Clone, fill the package cache, and measure.

    :raises UserError: git or make is not installed, or a command failed.
    """
    git, make = _find_program("git"), _find_program("make")
    clone, log = context.directory / "clone", context.directory / "make_run.log"
    environment = _environment(context.directory)
    with context.progress.status("make run in a clean clone"):
        _run([git, "clone", "--quiet", str(PROJECT), str(clone)], environment, context.directory, log)
        commit = subprocess.run(
            [git, "rev-parse", "--short", "HEAD"], cwd=clone, capture_output=True, text=True, check=True
        ).stdout.strip()
        _run([make, ".make/venv/ready"], environment, clone, log)
        shutil.rmtree(clone / ".make" / "venv")
        seconds = _run([make, "run"], environment, clone, log)
    context.progress.done(f"make run in a clean clone: {seconds:.0f} seconds")
    rows = [Row("`make run`: seconds", {OURS: seconds})]
    text = f"`make run` with a warm cache under {MAX_SECONDS} seconds"
    targets = [Target(text, f"{seconds:.0f} seconds", seconds < MAX_SECONDS)]
    method = METHOD.format(commit=commit)
    return BenchmarkResult("make-run", "`make run` in a clean clone", method, rows, targets)


def _environment(directory: Path) -> dict[str, str]:
    settings, environment = settings_in(directory), clean_environment()
    # Without the environment of this command, which is not that of the clone.
    ours = PROJECT / ".make" / "venv" / "bin"
    path = [part for part in environment.get("PATH", "").split(os.pathsep) if part and Path(part) != ours]
    return environment | {
        "AIRFLOW_PORT": str(settings.airflow_port),
        "LOCAL_DBT_CLOUD_API_PORT": str(settings.api_port),
        "LOCAL_DBT_CLOUD_PAGES_PORT": str(settings.pages_port),
        "PATH": os.pathsep.join(path),
    }


def _run(command: list[str], environment: dict[str, str], directory: Path, log: Path) -> float:
    """Run a command that must succeed; return its duration in seconds."""
    start = time.monotonic()
    name = f"{Path(command[0]).name} {command[1]}"
    with running(command, environment, directory, log) as process:
        try:
            exit_code = process.wait(COMMAND_TIMEOUT)
        except subprocess.TimeoutExpired:
            raise UserError(
                f"{name} in a clean clone is still running after {COMMAND_TIMEOUT} seconds."
            ) from None
        seconds = time.monotonic() - start
    if exit_code:
        lines = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(errors="replace")).strip().splitlines()
        raise UserError(f"{name} in a clean clone failed: {' '.join(lines[-3:]) or 'no output'}")
    return seconds


def _find_program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise UserError(
            f"The benchmark make-run needs {name}, which is not installed: "
            "install it, or run the other benchmarks with --only."
        )
    return path

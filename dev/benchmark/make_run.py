"""Measures how long a newcomer waits: `make run` in a clean clone, with a warm package cache."""

import re
import shutil
import subprocess
import time
from pathlib import Path

from dev.benchmark.context import BenchmarkContext
from dev.benchmark.part import OURS, Part, Row, Target
from dev.temporary_stack import clean_environment, settings_in
from scripts.failure import Failure
from scripts.processes import running
from scripts.settings import PROJECT

MOST_SECONDS = 90
# When to give up.
PATIENCE = 900

HOW = (
    "A `git clone` of this repository at {commit}. Its environment was made once, so that the packages "
    "are in the machine's cache, and removed. Then `make run`, measured once: it makes the environment, "
    "starts the local dbt Cloud and Airflow, runs the Dag twice and stops all."
)


def measure(bench: BenchmarkContext) -> Part:
    """Clone, fill the cache, run.

    :raises Failure: there is no git, no make, no repository, or it fails; says which.
    """
    git, make = _find("git"), _find("make")
    clone, log = bench.directory / "clone", bench.directory / "make_run.log"
    ports = settings_in(bench.directory)
    environment = clean_environment() | {
        "AIRFLOW_PORT": str(ports.airflow_port),
        "LOCAL_DBT_CLOUD_API_PORT": str(ports.api_port),
        "LOCAL_DBT_CLOUD_PAGES_PORT": str(ports.pages_port),
        # Where this command was called from is not where the clone is.
        "PATH": _path_without(PROJECT / ".make" / "venv" / "bin"),
    }
    with bench.progress.waiting("make run in a clean clone"):
        _run([git, "clone", "--quiet", str(PROJECT), str(clone)], environment, bench.directory, log)
        commit = subprocess.run(
            [git, "rev-parse", "--short", "HEAD"], cwd=clone, capture_output=True, text=True, check=True
        ).stdout.strip()
        _run([make, ".make/venv/ready"], environment, clone, log)
        shutil.rmtree(clone / ".make" / "venv")
        seconds = _run([make, "run"], environment, clone, log)
    bench.progress.done(f"make run in a clean clone: {seconds:.0f} seconds")
    rows = [Row("`make run`: seconds", {OURS: seconds})]
    text = f"`make run` with a warm cache under {MOST_SECONDS} seconds"
    targets = [Target(text, f"{seconds:.0f} seconds", seconds < MOST_SECONDS)]
    how = HOW.format(commit=commit)
    return Part("make-run", "`make run` from a clean clone", how, rows, targets)


def _run(command: list[str], environment: dict[str, str], directory: Path, log: Path) -> float:
    """Run a command to its end; return how many seconds it took."""
    start = time.monotonic()
    name = f"{Path(command[0]).name} {command[1]}"
    with running(command, environment, directory, log) as process:
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise Failure(f"{name} in a clean clone has not ended after {PATIENCE} seconds.") from None
        seconds = time.monotonic() - start
    if code:
        lines = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(errors="replace")).strip().splitlines()
        raise Failure(f"{name} in a clean clone failed: {' '.join(lines[-3:]) or 'it printed nothing'}")
    return seconds


def _find(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise Failure(
            f"`make run` from a clean clone needs {program}, which is not installed: use --only for the rest."
        )
    return path


def _path_without(directory: Path) -> str:
    parts = clean_environment().get("PATH", "").split(":")
    return ":".join(part for part in parts if part and Path(part) != directory)

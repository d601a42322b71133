"""Runs the programs of workloads/, each in a process whose time, memory and imports are its own."""

import json
import subprocess
import sys
from typing import Any

from scripts.failure import Failure
from scripts.settings import PROJECT, Settings
from scripts.stack import airflow_environment


def run_workload(settings: Settings, name: str, *arguments: object) -> dict[str, Any]:
    """Run a program with Airflow's environment; return the JSON that is the last line it prints.

    :raises Failure: it failed; says how.
    """
    # Logs are not what is measured: to the advantage of the provider's trigger, which logs each request.
    environment = airflow_environment(settings) | {"AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR"}
    finished = subprocess.run(
        [sys.executable, "-m", f"dev.benchmark.workloads.{name}", *map(str, arguments)],
        env=environment, cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if finished.returncode:
        last = (finished.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        raise Failure(f"The workload {name} {' '.join(map(str, arguments))} failed: {last}")
    return json.loads(finished.stdout.strip().splitlines()[-1])

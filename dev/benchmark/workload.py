"""Run a program of workloads/ in a separate process, so that its time and memory can be measured."""

import json
import subprocess
import sys
from typing import Any

from scripts.exceptions import UserError
from scripts.settings import PROJECT, Settings
from scripts.stack import airflow_environment


def run_workload(settings: Settings, name: str, *arguments: object) -> dict[str, Any]:
    """Run a program with Airflow's environment; return the JSON in the last line of its output.

    :param name: Name of its module.
    :raises UserError: It failed.
    """
    # Without logs, which favors the provider's trigger: it logs each request.
    environment = airflow_environment(settings) | {"AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR"}
    process = subprocess.run(
        [sys.executable, "-m", f"dev.benchmark.workloads.{name}", *map(str, arguments)],
        env=environment, cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if process.returncode:
        last_line = (process.stderr.strip().splitlines() or ["no output"])[-1]
        raise UserError(f"The workload {name} {' '.join(map(str, arguments))} failed: {last_line}")
    return json.loads(process.stdout.strip().splitlines()[-1])

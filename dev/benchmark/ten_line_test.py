"""Compare the Dag test in the local dbt Cloud's README with a test that only imports Airflow."""

import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

from scripts.exceptions import UserError
from scripts.settings import PROJECT

README = PROJECT / "local-dbt-cloud" / "README.md"
IMPORT_TEST = """
from airflow.providers.dbt.cloud.operators.dbt import DbtCloudRunJobOperator

def test_nothing():
    pass
"""


def added_seconds(directory: Path, times: int) -> float:
    """Return how many seconds longer the README's test takes: the difference of the medians.

    :param directory: Directory for the tests and for Airflow's files.
    :raises UserError: A test failed.
    """
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    # The example without Airflow, conftest.py, the test.
    _, conftest, test = blocks
    directory.mkdir(parents=True)
    for name, text in (("conftest.py", conftest), ("test_dag.py", test), ("test_import.py", IMPORT_TEST)):
        (directory / name).write_text(text, encoding="utf-8")
    # The first time, Airflow creates its files and Python its bytecode.
    rounds = [(_run(directory, "test_dag.py"), _run(directory, "test_import.py")) for _ in range(times + 1)]
    dag, imported = zip(*rounds[1:], strict=True)
    return statistics.median(dag) - statistics.median(imported)


def _run(directory: Path, name: str) -> float:
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", name],
        cwd=directory, env=os.environ | {"AIRFLOW_HOME": str(directory / "airflow")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise UserError(f"The test of the README failed: {done.stdout.strip()[-500:]}")
    return time.monotonic() - start

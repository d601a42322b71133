"""Run the tests with randomized lifecycles of tasks and watchers, many more than `make test` does."""

import os
import subprocess
import sys

from scripts.exceptions import UserError
from scripts.settings import PROJECT

TESTS = PROJECT / "tests"
# How many lifecycles the tests run.
VARIABLE = "RANDOM_LIFECYCLES"
# More than the cores, because the tests mostly wait.
PROCESSES = 4


def run_lifecycles(count: int) -> int:
    """Run the tests that read the variable; return the number of lifecycles, 0 if there are no such tests.

    :raises UserError: A lifecycle violates a guarantee.
    """
    tests = [str(path) for path in sorted(TESTS.rglob("test_*.py")) if VARIABLE in path.read_text("utf-8")]
    if not tests:
        return 0
    command = [sys.executable, "-m", "pytest", "--quiet", "--numprocesses", str(PROCESSES), *tests]
    result = subprocess.run(command, cwd=PROJECT, env={**os.environ, VARIABLE: str(count)}, check=False)
    if result.returncode:
        raise UserError("A randomized task lifecycle violates a guarantee: see above.")
    return count

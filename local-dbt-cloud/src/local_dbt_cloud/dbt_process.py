"""Run dbt as a subprocess, and stop it on cancellation."""

import asyncio
import contextlib
import os
import signal
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

PARENT_WATCHDOG = Path(__file__).with_name("parent_watchdog.py")
# Seconds between SIGINT and SIGKILL.
STOP_TIMEOUT = 5

# No other variable is inherited: it may be a secret, and a dbt project can print its environment.
INHERITED_VARIABLES = (
    "PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE",
)  # fmt: skip

# The first three avoid network requests for usage statistics and version checks.
DBT_SETTINGS = {
    "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    "DO_NOT_TRACK": "1",
    "DBT_VERSION_CHECK": "false",
    "DBT_USE_COLORS": "false",
    "PYTHONUNBUFFERED": "1",
}


@cache
def dbt_version() -> str:
    """Return the installed version of dbt Core."""
    return version("dbt-core")


async def run_dbt(arguments: list[str], directory: Path, environment: dict[str, str], log: Path) -> int:
    """Run a dbt command and return its exit code.

    On cancellation of the awaiting task, stop dbt first, then propagate the cancellation.

    :param arguments: Arguments after ``dbt``.
    :param directory: Directory of the dbt project.
    :param environment: Variables for dbt, in addition to ``INHERITED_VARIABLES``.
    :param log: File to append the output to.
    """
    inherited = {name: os.environ[name] for name in INHERITED_VARIABLES if name in os.environ}
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", str(PARENT_WATCHDOG), *arguments,
            cwd=directory, env=inherited | DBT_SETTINGS | environment,
            stdin=asyncio.subprocess.PIPE, stdout=output, stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            await _stop(process)


async def _stop(process: asyncio.subprocess.Process) -> None:
    # On SIGINT, dbt cancels its queries.
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
    try:
        await asyncio.wait_for(process.wait(), STOP_TIMEOUT)
    except (TimeoutError, asyncio.CancelledError):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()

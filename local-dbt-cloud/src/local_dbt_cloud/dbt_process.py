"""Runs dbt as a process of its own, without a shell, and stops it when asked."""

import asyncio
import contextlib
import os
import signal
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

PARENT_WATCHDOG = Path(__file__).with_name("parent_watchdog.py")
SECONDS_TO_STOP = 5

# What dbt needs of our own environment. The rest stays out: it may hold secrets, and a dbt project can print.
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")

# dbt asks its home for newer versions and reports its use, unless told otherwise; both need a network.
QUIET = {
    "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    "DO_NOT_TRACK": "1",
    "DBT_VERSION_CHECK": "false",
    "DBT_USE_COLORS": "false",
    "PYTHONUNBUFFERED": "1",
}


@cache
def dbt_version() -> str:
    """Return the version of dbt that is installed here."""
    return version("dbt-core")


async def run_dbt(arguments: list[str], directory: Path, environment: dict[str, str], log: Path) -> int:
    """Run one dbt command to its end and return its exit code.

    :param arguments: what stands after "dbt".
    :param directory: the dbt project.
    :param environment: variables for dbt, beside the few it inherits.
    :param log: the file that takes what dbt prints.

    When the awaiting task is cancelled, dbt is stopped before the cancellation goes on.
    """
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", str(PARENT_WATCHDOG), *arguments,
            cwd=directory, env=inherited | QUIET | environment,
            stdin=asyncio.subprocess.PIPE, stdout=output, stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            await _stop(process)


async def _stop(process: asyncio.subprocess.Process) -> None:
    # An interrupt lets dbt cancel its queries.
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
    try:
        await asyncio.wait_for(process.wait(), SECONDS_TO_STOP)
    except (TimeoutError, asyncio.CancelledError):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()

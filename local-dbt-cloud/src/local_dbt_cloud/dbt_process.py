"""Run the dbt commands of a run in a subprocess, and stop it on cancellation."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

WORKER = Path(__file__).with_name("dbt_worker.py")
# Seconds until a canceled process is killed.
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


class DbtProcess:
    """The process that executes the dbt commands of a run; the first command starts it.

    :param directory: Directory of the dbt project.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: asyncio.subprocess.Process | None = None

    async def run(self, arguments: list[str], environment: dict[str, str], log: Path) -> int:
        """Run a dbt command and return its exit code.

        On cancellation of the awaiting task, stop dbt first, then propagate the cancellation.

        :param arguments: Arguments after ``dbt``.
        :param environment: Variables for dbt, in addition to ``INHERITED_VARIABLES``.
        :param log: File to append the output to.
        """
        process = self._process
        # The process has ended if dbt crashed in an earlier step whose failure does not end the run.
        if process is None or process.returncode is not None:
            process = self._process = await self._start(environment, log)
        assert process.stdin is not None
        assert process.stdout is not None
        command = {"arguments": arguments, "environment": environment, "log": str(log)}
        process.stdin.write(json.dumps(command).encode() + b"\n")
        try:
            exit_code = await process.stdout.readline()
            return int(exit_code) if exit_code else await process.wait()
        except asyncio.CancelledError:
            # On SIGINT, dbt cancels its queries.
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)
            async with asyncio.timeout(STOP_TIMEOUT):
                await self.end()
            raise

    async def end(self) -> None:
        """Wait until the process has ended, and thereby closed the DuckDB file; kill it on cancellation."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        assert process.stdin is not None
        process.stdin.write(b"\n")
        try:
            await process.wait()
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    async def _start(self, environment: dict[str, str], log: Path) -> asyncio.subprocess.Process:
        inherited = {name: os.environ[name] for name in INHERITED_VARIABLES if name in os.environ}
        with log.open("ab") as output:
            return await asyncio.create_subprocess_exec(
                sys.executable, "-P", str(WORKER),
                cwd=self._directory, env=inherited | DBT_SETTINGS | environment,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=output,
                start_new_session=True,
            )  # fmt: skip

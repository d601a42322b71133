"""Execute the dbt commands of a run in one process, because importing dbt takes seconds.

The local dbt Cloud starts this file. Each line of standard input is a command as JSON, an empty line ends the
process; each line of standard output is an exit code. An orphaned dbt would keep writing to the DuckDB file
and keep it locked for the next run: when the local dbt Cloud exits, even by SIGKILL, the operating system
closes standard input, and this process is killed.
"""

import atexit
import gc
import json
import os
import signal
import sys
import threading
from pathlib import Path
from queue import SimpleQueue
from typing import Any


def main() -> None:
    """Execute commands until an empty line arrives."""
    # Registered before dbt is imported, so that it runs after dbt's own exit handlers.
    atexit.register(_silence_stderr)
    # dbt creates many long-lived objects: by default, garbage collection takes a tenth of its time.
    gc.set_threshold(10_000)
    commands: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
    threading.Thread(target=_read_commands, args=(commands,), daemon=True).start()
    directory, variables = Path.cwd(), dict(os.environ)
    # dbt writes to the log of the step, not to the pipe.
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as exit_codes:
        while command := commands.get():
            # A Python model of the previous command may have changed both.
            os.chdir(directory)
            os.environ.clear()
            os.environ.update(variables)
            print(_execute(**command), file=exit_codes, flush=True)


def _execute(arguments: list[str], environment: dict[str, str], log: str) -> int:
    with Path(log).open("ab") as output:
        os.dup2(output.fileno(), sys.stdout.fileno())
        os.dup2(output.fileno(), sys.stderr.fileno())
    os.environ.update(environment)
    sys.argv = ["dbt", *arguments]
    try:
        from dbt.cli.main import cli

        cli()
    except SystemExit as end:
        return int(end.code or 0)
    except KeyboardInterrupt:
        # The run was canceled before dbt could handle the signal.
        return 1
    return 0


def _read_commands(commands: SimpleQueue[dict[str, Any] | None]) -> None:
    for line in sys.stdin:
        commands.put(json.loads(line) if line.strip() else None)
    os.killpg(os.getpgid(0), signal.SIGKILL)


def _silence_stderr() -> None:
    # At interpreter exit, DuckDB's bindings report leaks: dozens of lines after dbt's last one.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


if __name__ == "__main__":
    main()

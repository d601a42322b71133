"""Run a dbt command, and kill it when the local dbt Cloud exits, even by SIGKILL.

An orphaned dbt would keep writing to the DuckDB file and keep it locked for the next run. Standard input is a
pipe from the local dbt Cloud, which the operating system closes when that process exits.
"""

import atexit
import os
import signal
import sys
import threading


def _silence_stderr() -> None:
    # At interpreter exit, DuckDB's bindings report leaks: dozens of lines after dbt's last one.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def _kill_on_parent_exit() -> None:
    os.read(sys.stdin.fileno(), 1)
    os.killpg(os.getpgid(0), signal.SIGKILL)


if __name__ == "__main__":
    # Registered before dbt is imported, so that it runs after dbt's own exit handlers.
    atexit.register(_silence_stderr)
    threading.Thread(target=_kill_on_parent_exit, daemon=True).start()
    sys.argv[0] = "dbt"
    from dbt.cli.main import cli

    cli()

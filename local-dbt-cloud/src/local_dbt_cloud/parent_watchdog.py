"""Runs one dbt command, and ends with the local dbt Cloud that started it, even when that was killed.

A dbt that outlived its dbt Cloud would go on writing to the database, and hold it locked for the next run.
Its standard input is a pipe from the local dbt Cloud: the system closes it when that process ends, however
it ends.
"""

import atexit
import os
import signal
import sys
import threading


def _say_no_more() -> None:
    # DuckDB's bindings report what they leak when Python ends: dozens of lines below dbt's own last one.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)
    os.killpg(os.getpgid(0), signal.SIGKILL)


if __name__ == "__main__":
    # What is registered first is called last.
    atexit.register(_say_no_more)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.argv[0] = "dbt"
    from dbt.cli.main import cli

    cli()

"""Command line shared by `make run`, `make start` and `make screenshots`."""

import argparse
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
from rich.markup import escape

from scripts.exceptions import UserError
from scripts.processes import TERMINATION_SIGNALS
from scripts.progress import Progress
from scripts.settings import Settings, read_settings


def handle_termination_signals() -> None:
    """Raise KeyboardInterrupt on every termination signal, so that all processes are stopped.

    SIGINT is included, because a shell makes the commands that it starts in the background ignore it.
    """
    for number in TERMINATION_SIGNALS:
        signal.signal(number, signal.default_int_handler)


def main(name: str, description: str | None, command: Callable[[Settings, Progress], None]) -> None:
    """Run a command: exit code 0 on success, 1 after an error, 130 after Ctrl-C.

    :param name: Name of the command in its help and errors, such as ``make run``.
    """
    parser = argparse.ArgumentParser(prog=name, description=description)
    parser.add_argument("--airflow-home", type=Path, help="Airflow's home directory (default: .airflow)")
    options = parser.parse_args()
    handle_termination_signals()
    progress = Progress()
    settings = None
    try:
        settings = read_settings(options.airflow_home)
        command(settings, progress)
    except (UserError, httpx.HTTPError, OSError) as error:
        progress.print(f"[bold red]{name} failed:[/] {escape(str(error))}")
        if settings and (settings.airflow_home / "logs").is_dir():
            runs = f", {settings.data_dir}/runs" if settings.is_local else ""
            progress.print(f"Logs: {settings.airflow_home}/logs{runs}")
        sys.exit(1)
    except KeyboardInterrupt:
        progress.stopped()
        sys.exit(130)

"""What the commands that bring up the local stack share: options, exit codes, the last sentence."""

import argparse
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
from rich.markup import escape

from scripts.failure import Failure
from scripts.processes import ENDING
from scripts.progress import Progress
from scripts.settings import Settings, read_settings


def main(name: str, description: str | None, work: Callable[[Settings, Progress], None]) -> None:
    """Run a command's work.

    Ends with exit code 0 when the work is done, 1 with a sentence when it failed, 130 after Ctrl-C.
    """
    parser = argparse.ArgumentParser(prog=name, description=description)
    parser.add_argument("--airflow-home", type=Path, help="Airflow's own directory (default: .airflow)")
    options = parser.parse_args()
    # An end from outside is an end like Ctrl-C: what was started is stopped. A shell that starts us in the
    # background has Ctrl-C ignored, but a CI that ends a job sends it all the same.
    for number in ENDING:
        signal.signal(number, signal.default_int_handler)
    progress = Progress()
    settings = None
    try:
        settings = read_settings(options.airflow_home)
        work(settings, progress)
    except (Failure, httpx.HTTPError, OSError) as failure:
        progress.line(f"[bold red]{name} failed:[/] {escape(str(failure))}")
        if settings and settings.airflow_home.is_dir():
            progress.line(f"Logs: {settings.airflow_home}/logs, {settings.data_dir}/runs")
        sys.exit(1)
    except KeyboardInterrupt:
        progress.line("Stopped: nothing is left running.")
        sys.exit(130)

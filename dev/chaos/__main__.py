"""`make chaos`: run the chaos test and write docs/chaos.md."""

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path

import httpx
from rich.markup import escape

from dev.benchmark.environment import cpu_load
from dev.chaos.experiment import Experiment
from dev.chaos.lifecycles import run_lifecycles
from dev.chaos.report import PAGE, PLOT, Result, describe, render_page
from dev.chaos.requirements import find_servers
from dev.chaos.stack import Stack
from scripts.cli import handle_termination_signals
from scripts.exceptions import UserError
from scripts.progress import Progress

RUNS = 200
LIFECYCLES = 1000


def run_chaos(options: argparse.Namespace, directory: Path, progress: Progress) -> Result:
    """Run the randomized lifecycles, then the experiment.

    :raises UserError: A requirement is missing, a process did not start, or a lifecycle failed.
    """
    # Before the lifecycles, which take minutes.
    find_servers()
    initial_load = cpu_load()
    lifecycles = run_lifecycles(options.lifecycles) if options.lifecycles else 0
    with Stack(directory).start(progress) as stack:
        experiment = Experiment(stack, options.runs, options.seed, progress)
        started_at = progress.seconds
        outcomes = experiment.run()
        seconds = progress.seconds - started_at
    return Result(
        outcomes,
        experiment.injections,
        experiment.restarts,
        experiment.foreign_result(),
        options.seed,
        seconds,
        lifecycles,
        initial_load,
    )


def main() -> None:
    """Run the command: exit code 0 without violations, 1 with violations or an error, 130 after Ctrl-C."""
    options = _parse_options()
    handle_termination_signals()
    progress = Progress()
    with contextlib.ExitStack() as cleanup:
        try:
            directory = options.directory or Path(
                cleanup.enter_context(
                    tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True)
                )
            )
            result = run_chaos(options, directory.resolve(), progress)
        except (UserError, httpx.HTTPError, OSError) as error:
            progress.print(f"[bold red]make chaos failed:[/] {escape(str(error))}")
            sys.exit(1)
        except KeyboardInterrupt:
            progress.stopped()
            sys.exit(130)
    for outcome in result.outcomes:
        if outcome.violations():
            progress.print(escape(" | ".join(describe(outcome))))
    progress.print(result.summary)
    if options.runs == RUNS:
        # matplotlib is needed only here.
        from dev.chaos.plot import draw

        PAGE.write_text(render_page(result), encoding="utf-8")
        draw(result.outcomes, result.injections, PLOT)
        progress.done(f"Wrote {PAGE} and {PLOT}")
    sys.exit(1 if result.violations else 0)


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m dev.chaos",
        description="Make Dag runs in an Airflow on PostgreSQL, Celery and Redis while its processes are "
        "killed, frozen and restarted. Exit code 1 if a guarantee was violated.",
    )
    parser.add_argument(
        "--runs", type=int, default=RUNS,
        help=f"number of Dag runs (default: {RUNS}); any other number writes no page",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=1, help="of faults, decisions and dbt runs (default: 1)")
    parser.add_argument(
        "--lifecycles", type=int, default=LIFECYCLES,
        help=f"number of randomized task lifecycles to run before, 0 for none (default: {LIFECYCLES:,})",
    )  # fmt: skip
    parser.add_argument("--directory", type=Path, help="new directory for logs and data; kept afterwards")
    return parser.parse_args()


if __name__ == "__main__":
    main()

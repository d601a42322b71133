"""`make bench`: run the benchmarks and write docs/benchmarks.md."""

import argparse
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import httpx
from rich.markup import escape

from dev.benchmark import (
    dag_parsing,
    idle_check,
    make_run,
    notice,
    polling,
    report,
    resume_lag,
    run_events,
    throughput,
)
from dev.benchmark.context import BenchmarkContext
from dev.benchmark.environment import cpu_load, environment_summary
from scripts.cli import handle_termination_signals
from scripts.exceptions import UserError
from scripts.progress import Progress

BENCHMARKS = {
    "check": idle_check.measure,
    "waiting": polling.measure,
    "notice": notice.measure,
    "lag": resume_lag.measure,
    "events": run_events.measure,
    "parse": dag_parsing.measure,
    "make-run": make_run.measure,
    "local-dbt-cloud": throughput.measure,
}


def run_benchmarks(context: BenchmarkContext, names: list[str], write: bool) -> None:
    """Run benchmarks, print their results, and write the page and the plot if ``write`` is true.

    :raises UserError: A requirement is missing, or a benchmark failed.
    """
    # Before the benchmarks, which take 20 minutes.
    if write and find_spec("matplotlib") is None:
        raise UserError("matplotlib is not installed: delete .make/venv/ready and run make bench again.")
    initial_load = cpu_load()
    results = {}
    for name in names:
        results[name] = BENCHMARKS[name](context)
        context.progress.done(results[name].title)
    report.print_results(context.progress, list(results.values()))
    if not write:
        return
    # matplotlib is needed only here.
    from dev.benchmark.plot import draw

    report.write_page(list(results.values()), environment_summary(initial_load))
    draw(results["check"], results["waiting"], report.PLOT)
    context.progress.done(f"Wrote {report.PAGE} and {report.PLOT}")


def main() -> None:
    """Run the command: exit code 0 on success, 1 after an error, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument(
        "--only", metavar="NAME", choices=BENCHMARKS, action="append",
        help=f"one of {', '.join(BENCHMARKS)}; may be repeated; writes no page",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="fewer and smaller measurements; writes no page")
    options = parser.parse_args()
    handle_termination_signals()
    progress = Progress()
    try:
        with tempfile.TemporaryDirectory(prefix="benchmark-", ignore_cleanup_errors=True) as directory:
            context = BenchmarkContext(Path(directory), progress, options.quick)
            write = not (options.only or options.quick)
            run_benchmarks(context, options.only or list(BENCHMARKS), write)
    except (UserError, httpx.HTTPError) as error:
        progress.print(f"[bold red]make bench failed:[/] {escape(str(error))}")
        sys.exit(1)
    except KeyboardInterrupt:
        progress.stopped()
        sys.exit(130)


if __name__ == "__main__":
    main()

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
    deferred,
    idle_check,
    make_run,
    notice,
    polling,
    report,
    resume_lag,
    run_events,
    storage,
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
    "deferred": deferred.measure,
    "events": run_events.measure,
    "parse": dag_parsing.measure,
    "make-run": make_run.measure,
    "local-dbt-cloud": throughput.measure,
}


def run_benchmarks(context: BenchmarkContext, names: list[str], write: bool) -> None:
    """Run benchmarks, print their results, and write the page and the plot if ``write`` is true.

    The page has the last results of the benchmarks that are not run.

    :raises UserError: A requirement is missing, or a benchmark failed.
    """
    # Fail before the benchmarks, which take an hour.
    if write and find_spec("matplotlib") is None:
        raise UserError("matplotlib is not installed: delete .make/venv/ready and run make bench again.")
    environment = environment_summary(cpu_load())
    results = []
    for name in names:
        result = BENCHMARKS[name](context)
        results.append(result)
        if write:
            storage.save(result, environment)
        context.progress.done(result.title)
    report.print_results(context.progress, results)
    if write:
        _write_page(context.progress)


def _write_page(progress: Progress) -> None:
    stored = {name: one for name in BENCHMARKS if (one := storage.load(name))}
    if missing := BENCHMARKS.keys() - stored:
        progress.print(f"No page was written. Never measured: {', '.join(sorted(missing))}.")
        return
    # matplotlib is needed only here.
    from dev.benchmark.plot import draw

    report.write_page(list(stored.values()))
    draw(stored["check"][0], stored["waiting"][0], report.PLOT)
    progress.done(f"Wrote {report.PAGE} and {report.PLOT}")


def main() -> None:
    """Run the command: exit code 0 on success, 1 after an error, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument(
        "--only", metavar="NAME", choices=BENCHMARKS, action="append",
        help=f"one of {', '.join(BENCHMARKS)}; repeatable; the page keeps the last results of the others",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="fewer and smaller measurements; writes no page")
    options = parser.parse_args()
    handle_termination_signals()
    progress = Progress()
    try:
        with tempfile.TemporaryDirectory(prefix="benchmark-", ignore_cleanup_errors=True) as directory:
            context = BenchmarkContext(Path(directory), progress, options.quick)
            run_benchmarks(context, options.only or list(BENCHMARKS), write=not options.quick)
    except (UserError, httpx.HTTPError) as error:
        progress.print(f"[bold red]make bench failed:[/] {escape(str(error))}")
        sys.exit(1)
    except KeyboardInterrupt:
        progress.stopped()
        sys.exit(130)


if __name__ == "__main__":
    main()

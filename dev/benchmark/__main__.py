"""Measure what this project costs beside what people use today, and write docs/benchmarks.md."""

import argparse
import signal
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import httpx
from rich.markup import escape

from dev.benchmark import check, lag, make_run, parse, report, serving, waiting
from dev.benchmark.context import BenchmarkContext
from dev.benchmark.machine import busy, circumstances
from scripts.failure import Failure
from scripts.processes import ENDING
from scripts.progress import Progress

MEASUREMENTS = {
    "check": check.measure,
    "waiting": waiting.measure,
    "lag": lag.measure,
    "parse": parse.measure,
    "make-run": make_run.measure,
    "local-dbt-cloud": serving.measure,
}


def bench(bench: BenchmarkContext, names: list[str], writes: bool) -> None:
    """Measure, show, and write the page and the plot if that is wanted.

    :raises Failure: something is missing, or could not be measured; says what.
    """
    # Said now, not after twenty minutes.
    if writes and find_spec("matplotlib") is None:
        raise Failure(
            "matplotlib, which draws the plot, is not installed: remove .make/venv/ready and try again."
        )
    busy_before = busy()
    parts = {}
    for name in names:
        parts[name] = MEASUREMENTS[name](bench)
        bench.progress.done(parts[name].title)
    report.show(bench.progress, list(parts.values()))
    if not writes:
        return
    # Here: to draw needs a package that nothing else does.
    from dev.benchmark.plot import draw

    report.write(list(parts.values()), circumstances(busy_before))
    draw(parts["check"], parts["waiting"], report.PLOT)
    bench.progress.done(f"Written: {report.PAGE}, {report.PLOT}")


def main() -> None:
    """Run the command; exit code 1 with a sentence if it failed, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument(
        "--only", metavar="PART", choices=MEASUREMENTS, action="append",
        help=f"one of {', '.join(MEASUREMENTS)}; may be repeated; writes nothing",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="fewer and smaller, to try it; writes nothing")
    options = parser.parse_args()
    for number in ENDING:
        signal.signal(number, signal.default_int_handler)
    progress = Progress()
    try:
        with tempfile.TemporaryDirectory(prefix="benchmark-", ignore_cleanup_errors=True) as directory:
            writes = not (options.only or options.quick)
            bench(
                BenchmarkContext(Path(directory), progress, options.quick),
                options.only or list(MEASUREMENTS),
                writes,
            )
    except (Failure, httpx.HTTPError) as failure:
        progress.line(f"[bold red]make bench failed:[/] {escape(str(failure))}")
        sys.exit(1)
    except KeyboardInterrupt:
        progress.line("Stopped: nothing is left running.")
        sys.exit(130)


if __name__ == "__main__":
    main()

"""Measures the local dbt Cloud itself: how soon it answers with a long history, and what memory it takes."""

from dev.benchmark.context import BenchmarkContext
from dev.benchmark.dbt_cloud import local_dbt_cloud, megabytes
from dev.benchmark.part import OURS, Part, Row
from dev.benchmark.workload import run_workload

HISTORY = 50_000
AT_ONCE = 8
TIMES = {"list": 400, "get": 2000}

HOW = (
    "A client in a process of its own on the same machine, over TLS on connections that it keeps: "
    "{lists} lists of 100 runs from anywhere among {history:,}, {gets:,} single runs. Milliseconds: one "
    f"request after the other. Requests a second: {AT_ONCE} at once. Memory: of the server's process, "
    "after all of that."
)


def measure(bench: BenchmarkContext) -> Part:
    """Ask for lists and single runs."""
    history = 2000 if bench.quick else HISTORY
    times = {what: number // (10 if bench.quick else 1) for what, number in TIMES.items()}
    rows = []
    with bench.progress.waiting(f"The local dbt Cloud with {history:,} runs of history"):
        with local_dbt_cloud(bench.with_history, history) as dbt_cloud:
            for what, number in times.items():
                name = {"list": "list of 100 runs", "get": "single run"}[what]
                alone = run_workload(bench.with_history, "load", what, history, number, 1)
                at_once = run_workload(bench.with_history, "load", what, history, number, AT_ONCE)
                rows += [
                    Row(f"{name}: requests a second", {OURS: at_once["a_second"]}),
                    Row(f"{name}: milliseconds, median", {OURS: alone["median"]}, "{:,.1f}"),
                    Row(f"{name}: milliseconds, 99th percentile", {OURS: alone["p99"]}, "{:,.1f}"),
                ]
            rows.append(Row("memory, MB", {OURS: megabytes(dbt_cloud)}))
    how = HOW.format(lists=times["list"], history=history, gets=times["get"])
    return Part("local-dbt-cloud", f"The local dbt Cloud with {history:,} runs", how, rows)

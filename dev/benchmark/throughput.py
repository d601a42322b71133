"""Benchmark how fast the local dbt Cloud answers with a long history, and its memory."""

from dev.benchmark.context import BenchmarkContext
from dev.benchmark.dbt_cloud import local_dbt_cloud, memory_usage
from dev.benchmark.result import OURS, BenchmarkResult, Row
from dev.benchmark.workload import run_workload

HISTORY, QUICK_HISTORY = 50_000, 2000
CONCURRENCY = 8
# Number of requests, and label, by kind of request.
REQUESTS = {"list": 400, "get": 2000}
LABELS = {"list": "list of 100 runs", "get": "single run"}

METHOD = (
    "A client in another process on the same machine requests {lists} lists of 100 runs from random places "
    "among {history:,}, and {gets:,} single runs, over TLS on connections that it keeps open. Milliseconds: "
    f"one request after the other. Requests per second: {CONCURRENCY} at a time. Memory: of the server's "
    "process after all requests."
)


def measure(context: BenchmarkContext) -> BenchmarkResult:
    """Request lists and single runs."""
    history = QUICK_HISTORY if context.quick else HISTORY
    requests = {kind: count // (10 if context.quick else 1) for kind, count in REQUESTS.items()}
    settings = context.history_settings
    rows = []
    with context.progress.status(f"Local dbt Cloud with {history:,} runs of history"):
        with local_dbt_cloud(settings, history) as dbt_cloud:
            for kind, count in requests.items():
                sequential = run_workload(settings, "request_runs", kind, history, count, 1)
                concurrent = run_workload(settings, "request_runs", kind, history, count, CONCURRENCY)
                label = LABELS[kind]
                rows += [
                    Row(f"{label}: requests per second", {OURS: concurrent["per_second"]}),
                    Row(f"{label}: milliseconds, median", {OURS: sequential["median"]}, "{:,.1f}"),
                    Row(f"{label}: milliseconds, 99th percentile", {OURS: sequential["p99"]}, "{:,.1f}"),
                ]
            rows.append(Row("memory, MB", {OURS: memory_usage(dbt_cloud)}))
    method = METHOD.format(lists=requests["list"], history=history, gets=requests["get"])
    return BenchmarkResult("local-dbt-cloud", f"The local dbt Cloud with {history:,} runs", method, rows)

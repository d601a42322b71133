"""Benchmark how fast the local dbt Cloud starts, answers with a long history and runs dbt, and its memory."""

import statistics
import tempfile
import time
from pathlib import Path

from local_dbt_cloud import testing

from dev.benchmark.context import BenchmarkContext
from dev.benchmark.dbt_cloud import local_dbt_cloud, memory_usage
from dev.benchmark.result import OURS, BenchmarkResult, Row, Target
from dev.benchmark.ten_line_test import added_seconds
from dev.benchmark.workload import run_workload

HISTORY, QUICK_HISTORY = 50_000, 2000
CONCURRENCY = 8
# Number of requests, and label, by kind of request.
REQUESTS = {"list": 400, "get": 2000}
LABELS = {"list": "list of 100 runs", "get": "single run"}

# Number of requests for single runs, of clients that send them, and of clients that trigger a job meanwhile.
CROWD_REQUESTS, POLLERS, TRIGGERS = 2000, 50, 20
MAX_MILLISECONDS = {"list": 20, "get": 3}
MAX_CROWD_P99, MAX_START, MAX_DEMO_JOB, MAX_TEST = 500, 1.5, 6, 1
STARTS, DEMO_JOB, TESTS = 3, 101, 9

METHOD = (
    "A client in another process on the same machine requests {lists} lists of 100 runs from random places "
    "among {history:,}, and {gets:,} single runs, over TLS on connections that it keeps open. Milliseconds: "
    f"one request after the other. Requests per second: {CONCURRENCY} at a time. Then {POLLERS} clients "
    f"request single runs without a pause while {TRIGGERS} others trigger a job each. Memory: of the "
    "server's process after all requests. Start: until it listens, with an empty history and existing "
    f"certificates. Demo job: from the trigger of job {DEMO_JOB} of the demo account to the end of "
    f"its run. Both are medians of {STARTS} starts. Test of a Dag: by how many seconds a pytest run with the "
    "test in the README of the local dbt Cloud is longer than one that only imports Airflow's operator, "
    f"with medians of {TESTS}."
)


def measure(context: BenchmarkContext) -> BenchmarkResult:
    """Request lists and single runs, trigger runs, and measure starts and the demo job."""
    history = QUICK_HISTORY if context.quick else HISTORY
    part = 10 if context.quick else 1
    requests = {kind: count // part for kind, count in REQUESTS.items()}
    settings = context.history_settings
    rows, targets = [], []
    with (
        context.progress.status(f"Local dbt Cloud with {history:,} runs of history"),
        local_dbt_cloud(settings, history, list(range(1, TRIGGERS + 1))) as dbt_cloud,
    ):
        for kind, count in requests.items():
            sequential = run_workload(settings, "request_runs", kind, history, count, 1, 0)
            concurrent = run_workload(settings, "request_runs", kind, history, count, CONCURRENCY, 0)
            label, limit = LABELS[kind], MAX_MILLISECONDS[kind]
            rows += [
                Row(f"{label}: requests per second", {OURS: concurrent["per_second"]}),
                Row(f"{label}: milliseconds, median", {OURS: sequential["median"]}, "{:,.1f}"),
                Row(f"{label}: milliseconds, 99th percentile", {OURS: sequential["p99"]}, "{:,.1f}"),
            ]
            targets.append(_below(f"{label}: median under {limit} ms", sequential["median"], limit, "ms"))
        # The runs stay queued: dbt does not compete for the cores.
        dbt_cloud.pause()
        crowd = run_workload(
            settings, "request_runs", "get", history, CROWD_REQUESTS // part, POLLERS, TRIGGERS
        )
        label = f"{POLLERS} pollers and {TRIGGERS} triggers at once"
        rows += [
            Row(f"{label}: milliseconds, 99th percentile", {OURS: crowd["p99"]}),
            Row("memory, MB", {OURS: memory_usage(dbt_cloud)}),
        ]
        targets.append(
            _below(
                f"{label}: no error, 99th percentile under {MAX_CROWD_P99} ms",
                crowd["p99"],
                MAX_CROWD_P99,
                "ms",
            )
        )
    with context.progress.status("Starts and demo jobs"):
        start, demo_job = _start_and_run(STARTS)
        test = added_seconds(context.directory / "ten_line_test", TESTS)
    rows += [
        Row("start, seconds", {OURS: start}, "{:,.1f}"),
        Row("demo job, seconds", {OURS: demo_job}, "{:,.1f}"),
        Row("test of a Dag: seconds more than an import", {OURS: test}, "{:,.2f}"),
    ]
    targets += [
        _below(f"start under {MAX_START} seconds", start, MAX_START, "seconds"),
        _below(f"demo job under {MAX_DEMO_JOB} seconds", demo_job, MAX_DEMO_JOB, "seconds"),
        _below("test of a Dag: less than a second more than an import", test, MAX_TEST, "seconds"),
    ]
    method = METHOD.format(lists=requests["list"], history=history, gets=requests["get"])
    title = f"The local dbt Cloud with {history:,} runs"
    return BenchmarkResult("local-dbt-cloud", title, method, rows, targets)


def _start_and_run(times: int) -> tuple[float, float]:
    """Return the medians of the seconds of a start and of the demo job."""
    # Creates the certificates.
    testing.certificates()
    starts, runs = [], []
    for _ in range(times):
        with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
            start = time.monotonic()
            with testing.serve(Path(directory) / "data") as dbt_cloud:
                starts.append(time.monotonic() - start)
                start = time.monotonic()
                run = dbt_cloud.wait(dbt_cloud.trigger(DEMO_JOB)["id"])
                runs.append(time.monotonic() - start)
                assert run["is_success"], run["status_message"]
    return statistics.median(starts), statistics.median(runs)


def _below(text: str, measured: float, limit: float, unit: str) -> Target:
    return Target(text, f"{measured:,.1f} {unit}", measured < limit)

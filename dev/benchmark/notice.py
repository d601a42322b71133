"""Benchmark how soon clients of dbt Cloud notice the end of a run, and with how many requests."""

import re
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dev.benchmark.clients import CLIENTS, PRELUDE, Client
from dev.benchmark.context import BenchmarkContext
from dev.benchmark.dbt_cloud import JOB_ID, local_dbt_cloud
from dev.benchmark.result import OURS, BenchmarkResult, Row, Target
from dev.temporary_stack import TemporaryDbtCloud, settings_in
from scripts.exceptions import UserError
from scripts.processes import running, wait_until
from scripts.settings import PROJECT, Settings
from scripts.stack import airflow_environment

RUNS, QUICK_RUNS = (1, 20, 100, 1000), (1, 20)
# Seconds during which runs end and requests are counted, and how many of the runs end.
WINDOW, QUICK_WINDOW = 60, 10
ENDING_RUNS = 20
# Timeouts in seconds: to start waiting for all runs, and to notice the end of a run.
START_TIMEOUT, NOTICE_TIMEOUT = 180, 120
MAX_REQUESTS, MAX_SECONDS = 60, 1.2

METHOD = (
    "Each client waits for a number of runs in one process, with its default interval: ours 2 seconds, the "
    "provider 60, Dagster (`DbtCloudWorkspaceClient.poll_run`) 1, Prefect (`wait_for_dbt_cloud_job_run`) and "
    "dbtc (`trigger_job`) 10. Evenly over {window} seconds some of the runs end; another run takes the place "
    "of each, so that the number stays the same. The time to notice is from the end of a run until the "
    "client returns, as a mean. The local dbt Cloud counts the requests. A cell is empty if the client is "
    "not installed, if its interval is too long for this method, or if the machine would be the limit."
)

# Mean seconds to notice, and requests per minute.
Cost = tuple[float, float]


def measure(context: BenchmarkContext) -> BenchmarkResult:
    """Measure each client with each number of runs."""
    numbers, window = (QUICK_RUNS, QUICK_WINDOW) if context.quick else (RUNS, WINDOW)
    settings = settings_in(context.directory / "notice")
    clients = [client for client in CLIENTS if client.python.exists()]
    rows: list[Row] = []
    ours: dict[int, Cost] = {}
    with local_dbt_cloud(settings) as dbt_cloud:
        for runs in numbers:
            costs: dict[str, Cost] = {}
            for client in clients:
                with context.progress.status(f"Noticing the ends of {runs:,} runs: {client.column}"):
                    try:
                        costs |= _measure_if_possible(settings, dbt_cloud, client, runs, window)
                    except UserError as error:
                        # If another client fails, only its cell stays empty.
                        if client.column == OURS:
                            raise
                        context.progress.print(f"Left out: {error}")
            ours[runs] = costs[OURS]
            rows += _rows(runs, costs)
            context.progress.done(
                f"{_label(runs)}: " + ", ".join(f"{name} {cost[0]:.2f} s" for name, cost in costs.items())
            )
    title = "Time until the end of a run is noticed"
    return BenchmarkResult("notice", title, METHOD.format(window=window), rows, _targets(ours))


def _measure_if_possible(
    settings: Settings, dbt_cloud: TemporaryDbtCloud, client: Client, runs: int, window: int
) -> dict[str, Cost]:
    # With one run, each end has to be noticed before the next one.
    ends = min(ENDING_RUNS, window // (2 * client.interval)) if runs == 1 else ENDING_RUNS
    if runs > client.max_runs or client.interval > window or not ends:
        return {}
    return {client.column: measure_client(settings, dbt_cloud, client, runs, ends, window)}


def measure_client(
    settings: Settings, dbt_cloud: TemporaryDbtCloud, client: Client, runs: int, ends: int, window: float
) -> Cost:
    """Let a client wait for a number of runs, of which some end.

    :param ends: How many end, evenly over the window.
    :param window: Seconds.
    :raises UserError: The client stopped, or noticed nothing.
    """
    run_ids = [dbt_cloud.create_run("running", job_id=JOB_ID) for _ in range(runs + ends)]
    dbt_cloud.clear_requests()
    ended: dict[int, float] = {}
    with _waiting(settings, client, run_ids, runs) as (process, log):
        wait_until(lambda: _count_requests(dbt_cloud) > 0, client.column, process, log, START_TIMEOUT)
        # Until the first poll of all runs is over.
        time.sleep(5 + runs / 100)
        dbt_cloud.clear_requests()
        start = time.monotonic()
        for number, run_id in enumerate(run_ids[:ends]):
            time.sleep(max(0, start + number * window / ends - time.monotonic()))
            ended[run_id] = time.time()
            dbt_cloud.set_run(run_id, "success")
        time.sleep(max(0, start + window - time.monotonic()))
        requests = _count_requests(dbt_cloud) * 60 / window
        wait_until(lambda: ended.keys() <= _noticed(log).keys(), client.column, process, log, NOTICE_TIMEOUT)
    for run_id in run_ids[ends:]:
        dbt_cloud.set_run(run_id, "success")
    noticed = _noticed(log)
    return statistics.mean(noticed[run_id] - ended[run_id] for run_id in ended), requests


@contextmanager
def _waiting(
    settings: Settings, client: Client, run_ids: list[int], at_a_time: int
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Let a client wait while the block runs; yields its process and its log."""
    environment = airflow_environment(settings) | {
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        "PREFECT_HOME": str(settings.data_dir / "prefect"),
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": str(START_TIMEOUT),
    }
    arguments = [str(number) for number in (run_ids[0], len(run_ids), at_a_time)]
    command = [str(client.python), "-c", PRELUDE + client.program, *arguments]
    log = settings.data_dir / f"{client.column} {at_a_time}.log"
    # Prefect starts a server, which must end too.
    with running(command, environment, PROJECT, log) as process:
        yield process, log


def _noticed(log: Path) -> dict[int, float]:
    """Return the time at which a client noticed the end of each run."""
    # Clients write other lines there too.
    lines = re.findall(r"^(\d+) (\d+\.\d+)$", log.read_text(errors="replace"), re.MULTILINE)
    return {int(run_id): float(seconds) for run_id, seconds in lines}


def _count_requests(dbt_cloud: TemporaryDbtCloud) -> int:
    return sum(request["path"].startswith("/api/") for request in dbt_cloud.requests())


def _rows(runs: int, costs: dict[str, Cost]) -> list[Row]:
    seconds = {column: cost[0] for column, cost in costs.items()}
    requests = {column: cost[1] for column, cost in costs.items()}
    return [
        Row(f"{_label(runs)}: mean seconds", seconds, "{:,.2f}"),
        Row(f"{_label(runs)}: requests per minute", requests),
    ]


def _targets(ours: dict[int, Cost]) -> list[Target]:
    runs = max(ours)
    requests = ours[runs][1]
    targets = [
        Target(
            f"at {runs:,} runs at most {MAX_REQUESTS} requests per minute",
            f"{requests:.0f}",
            requests <= MAX_REQUESTS,
        )
    ]
    if 100 in ours:
        seconds = ours[100][0]
        text = f"at 100 runs a mean of less than {MAX_SECONDS} seconds"
        targets.append(Target(text, f"{seconds:.2f} seconds", seconds < MAX_SECONDS))
    return targets


def _label(runs: int) -> str:
    return f"{runs:,} run{'s' * (runs > 1)} waiting"

"""Benchmark what it costs a triggerer to wait for runs."""

from dataclasses import dataclass
from typing import Any

from dev.benchmark.context import BenchmarkContext
from dev.benchmark.dbt_cloud import count_requests, local_dbt_cloud
from dev.benchmark.result import OURS, PROVIDER, PROVIDER_DEFAULT, BenchmarkResult, Row, Target
from dev.benchmark.workload import run_workload
from dev.temporary_stack import TemporaryDbtCloud
from scripts.exceptions import UserError
from scripts.settings import Settings

RUNS = (1, 100, 1000)
QUICK_RUNS = (1, 100)
# Default seconds between two polls of our trigger and of the provider's.
OUR_INTERVAL, PROVIDER_INTERVAL = 2, 60
POLLS, QUICK_POLLS = 15, 5
MAX_REQUESTS_PER_POLL, MAX_HANDSHAKES, MIN_CPU_RATIO = 10, 5, 50

METHOD = (
    "A process waits for runs as a triggerer does, with all triggers on one event loop, while the local dbt "
    "Cloud reports every run as running. It is measured for {seconds} seconds after the first poll (the "
    "provider's default interval for 60), and the numbers are converted to one minute. Total TLS handshakes "
    "include those of the first poll. CPU is that of the process; memory is the growth of its peak with the "
    "triggers. Logging is off, which favors the provider's trigger: it logs each request. The first two "
    f"columns poll every {OUR_INTERVAL} seconds, but ours sends at most 60 requests a minute; the last one "
    f"polls every {PROVIDER_INTERVAL}. If the machine "
    "cannot complete a thousand handshakes every few seconds, the provider's trigger makes fewer requests "
    "per minute than it should. That does not affect the CPU per poll, which requests each run once."
)
# Label, key of the measured value, factor, format.
MEASURES: tuple[tuple[str, str, int, str], ...] = (
    ("requests", "requests", 1, "{:,.0f}"),
    ("TLS handshakes", "handshakes", 1, "{:,.0f}"),
    ("total TLS handshakes", "total_handshakes", 1, "{:,.0f}"),
    ("requests per poll", "poll_requests", 1, "{:,.0f}"),
    ("CPU seconds", "cpu", 1, "{:,.3f}"),
    ("CPU milliseconds per poll", "poll_cpu", 1000, "{:,.1f}"),
    ("memory, MB", "megabytes", 1, "{:,.1f}"),
)

Costs = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Variant:
    """A trigger and its interval.

    :param column: Column of the table.
    :param trigger: Name of the trigger in the workload.
    :param interval: Seconds between two polls.
    """

    column: str
    trigger: str
    interval: float


VARIANTS = (
    Variant(OURS, "ours", OUR_INTERVAL),
    Variant(PROVIDER, "provider", OUR_INTERVAL),
    Variant(PROVIDER_DEFAULT, "provider", PROVIDER_INTERVAL),
)


def measure(context: BenchmarkContext) -> BenchmarkResult:
    """Wait for each number of runs with each variant."""
    numbers = QUICK_RUNS if context.quick else RUNS
    variants = VARIANTS[:2] if context.quick else VARIANTS
    seconds = (QUICK_POLLS if context.quick else POLLS) * OUR_INTERVAL
    rows: list[Row] = []
    series: dict[str, list[tuple[float, float]]] = {variant.column: [] for variant in variants}
    costs: Costs = {}
    settings = context.history_settings
    with local_dbt_cloud(settings, max(numbers)) as dbt_cloud:
        for runs in numbers:
            for variant in variants:
                column = variant.column
                with context.progress.status(f"Waiting for {runs:,} runs: {column}"):
                    # At least one poll.
                    duration = max(seconds, variant.interval)
                    costs[column] = measure_waiting(settings, dbt_cloud, variant, runs, duration)
                series[column].append((float(runs), costs[column]["cpu"]))
            rows += _rows(runs, costs)
            cpu = ", ".join(f"{column} {cost['cpu']:.2f}" for column, cost in costs.items())
            context.progress.done(f"{_label(runs)}, CPU seconds per minute: {cpu}")
    method = METHOD.format(seconds=seconds)
    targets = _targets(max(numbers), costs)
    return BenchmarkResult("waiting", "Waiting for runs, per minute", method, rows, targets, series)


def measure_waiting(
    settings: Settings, dbt_cloud: TemporaryDbtCloud, variant: Variant, runs: int, seconds: float
) -> dict[str, float]:
    """Wait for a number of runs; return the cost per minute, and of one poll.

    :param seconds: Duration of the measurement.
    :return: ``requests``, ``handshakes`` and ``cpu`` (seconds) per minute; ``poll_requests`` and ``poll_cpu``
        (seconds) per poll; ``total_handshakes`` since the start; ``megabytes``.
    :raises UserError: A trigger stopped waiting, or the process and the local dbt Cloud counted different
        numbers of requests.
    """
    # Half an interval, so that the measurement does not start or end during a poll.
    warm_up = variant.interval / 2
    arguments: tuple[Any, ...] = (variant.trigger, runs, variant.interval, warm_up, seconds)
    with count_requests(dbt_cloud, freeze=True) as count:
        cost = run_workload(settings, "wait_for_runs", *arguments)
    if cost["ended"]:
        raise UserError(f"{cost['ended']} of {runs} triggers stopped waiting: {cost['events'][0]}")
    # Each trigger may have one request in flight at the end.
    if abs(count[0] - cost["total"]["requests"]) > runs:
        raise UserError(f"The local dbt Cloud counted {count[0]} requests; the workload reported {cost}.")
    # The provider's triggers poll independently: one request each.
    poll_requests = cost["longest_burst"] if variant.trigger == "ours" else runs
    polls = cost["requests"] / poll_requests
    per_minute = {name: cost[name] * 60 / cost["seconds"] for name in ("requests", "handshakes", "cpu")}
    return per_minute | {
        "megabytes": cost["megabytes"],
        "total_handshakes": cost["total"].get("handshakes", 0),
        "poll_requests": poll_requests,
        "poll_cpu": cost["cpu"] / polls if polls else 0.0,
    }


def _rows(runs: int, costs: Costs) -> list[Row]:
    return [
        Row(
            f"{_label(runs)}: {label}",
            {column: cost[key] * factor for column, cost in costs.items()},
            number_format,
        )
        for label, key, factor, number_format in MEASURES
    ]


def _targets(runs: int, costs: Costs) -> list[Target]:
    ours, provider = costs[OURS], costs[PROVIDER]
    requests, handshakes = ours["poll_requests"], ours["total_handshakes"]
    targets = [
        Target(
            f"at {runs:,} runs at most {MAX_REQUESTS_PER_POLL} requests per poll",
            f"{requests:g}",
            requests <= MAX_REQUESTS_PER_POLL,
        ),
        Target(
            f"at {runs:,} runs at most {MAX_HANDSHAKES} TLS handshakes in total",
            f"{handshakes:g}",
            handshakes <= MAX_HANDSHAKES,
        ),
    ]
    for key, period in (("poll_cpu", "per poll"), ("cpu", "per minute")):
        ratio = provider[key] / ours[key]
        text = (
            f"at {runs:,} runs at least {MIN_CPU_RATIO} times less CPU {period} than the provider's trigger"
        )
        targets.append(Target(f"{text} at the same interval", f"{ratio:.0f} times", ratio >= MIN_CPU_RATIO))
    return targets


def _label(runs: int) -> str:
    return f"{runs:,} run{'s' * (runs > 1)} waiting"

"""Measures what it costs a triggerer to wait for runs: few, many, very many."""

from dataclasses import dataclass
from typing import Any

from dev.benchmark.context import BenchmarkContext
from dev.benchmark.dbt_cloud import counting, local_dbt_cloud
from dev.benchmark.part import OURS, PROVIDER, PROVIDER_DEFAULT, Part, Row, Target
from dev.benchmark.workload import run_workload
from dev.temporary_stack import TemporaryDbtCloud
from scripts.failure import Failure
from scripts.settings import Settings

RUNS = (1, 100, 1000)
# Seconds between two rounds: ours by default, the provider's by default.
OUR_INTERVAL, DEFAULT_INTERVAL = 5, 60
MINUTE = 60
ROUNDS = 6
MOST_REQUESTS, HANDFUL, LESS_CPU = 10, 5, 50

HOW = (
    "A process waits for so many runs as a triggerer does: all triggers on one event loop. The runs "
    "look as if they were running, for ever. Measured after the first round for {seconds} seconds, the "
    "default for 60, and given for a minute; handshakes in all count those before as well. CPU is that "
    "of the process, memory is by how much its peak grew with the triggers; nobody logs, though the "
    "provider's usually logs each request. Ours and the provider's at the same interval ask every "
    f"{OUR_INTERVAL} seconds, the provider's by default every {DEFAULT_INTERVAL}. Where a thousand "
    "handshakes every few seconds are more than the machine can do, with the local dbt Cloud on it, the "
    "provider's makes fewer requests a minute than it should: the CPU of a round, in which each run is "
    "asked after once, tells what it would cost."
)


@dataclass(frozen=True)
class Waiting:
    """A trigger, and how often it asks; ``column`` is where it stands in the table."""

    column: str
    trigger: str
    interval: float


WAITINGS = (
    Waiting(OURS, "ours", OUR_INTERVAL),
    Waiting(PROVIDER, "provider", OUR_INTERVAL),
    Waiting(PROVIDER_DEFAULT, "provider", DEFAULT_INTERVAL),
)


def measure(bench: BenchmarkContext) -> Part:
    """Wait for each number of runs, with each trigger."""
    numbers = (1, 100) if bench.quick else RUNS
    waitings = WAITINGS[:2] if bench.quick else WAITINGS
    rounds = 2 if bench.quick else ROUNDS
    rows: list[Row] = []
    raw: dict[str, list[tuple[float, float]]] = {one.column: [] for one in waitings}
    found: dict[str, dict[str, Any]] = {}
    with local_dbt_cloud(bench.with_history, max(numbers)) as dbt_cloud:
        for runs in numbers:
            for one in waitings:
                # A minute for the provider's default: one round of its own.
                seconds = max(rounds * OUR_INTERVAL, one.interval)
                with bench.progress.waiting(f"Waiting for {runs:,} runs: {one.column}"):
                    found[one.column] = wait(bench.with_history, dbt_cloud, one, runs, seconds)
                raw[one.column].append((float(runs), found[one.column]["cpu"]))
            rows += _rows(runs, found)
            bench.progress.done(f"{_name(runs)}: {_in_short(found)}")
    return Part(
        "waiting",
        "Waiting for runs, per minute",
        HOW.format(seconds=rounds * OUR_INTERVAL),
        rows,
        _targets(runs, found),
        raw,
    )


def wait(
    settings: Settings, dbt_cloud: TemporaryDbtCloud, one: Waiting, runs: int, seconds: float
) -> dict[str, Any]:
    """Wait for so many runs; return the numbers of a minute, and ``round_requests``, ``round_cpu``, ``all``.

    :raises Failure: a trigger gave up, or the process and the local dbt Cloud counted differently.
    """
    # Half an interval: no round begins or ends with the time that is measured.
    with counting(dbt_cloud, freeze=True) as counted:
        found = run_workload(settings, "waiting", one.trigger, runs, one.interval, one.interval / 2, seconds)
    if found["ended"]:
        raise Failure(f"{found['ended']} of {runs} triggers gave up waiting: {found['why'][0]}")
    # Each trigger may have a request under way when the end comes.
    if abs(counted[0] - found["total"]["requests"]) > runs:
        raise Failure(f"{counted[0]} requests came to the local dbt Cloud; the triggers counted {found}.")
    # The provider's asks after each run by itself, at a time of its own.
    of_a_round = found["most_at_once"] if one.trigger == "ours" else runs
    rounds = found["requests"] / of_a_round
    minute = {name: found[name] * MINUTE / found["seconds"] for name in ("requests", "handshakes", "cpu")}
    return minute | {
        "megabytes": found["megabytes"],
        "all": found["total"].get("handshakes", 0),
        "round_requests": of_a_round,
        "round_cpu": found["cpu"] / rounds if rounds else 0.0,
    }


def _rows(runs: int, found: dict[str, dict[str, float]]) -> list[Row]:
    """Return the rows of a number of runs; a round is one for all runs, whoever asks."""
    lines = (
        ("requests", "requests", "{:,.0f}"),
        ("TLS handshakes", "handshakes", "{:,.0f}"),
        ("TLS handshakes in all", "all", "{:,.0f}"),
        ("requests a round", "round_requests", "{:,.0f}"),
        ("CPU seconds", "cpu", "{:,.3f}"),
        ("CPU milliseconds a round", "round_cpu", "{:,.1f}"),
        ("memory, MB", "megabytes", "{:,.1f}"),
    )
    return [
        Row(
            f"{_name(runs)}: {what}",
            {who: one[key] * (1000 if key == "round_cpu" else 1) for who, one in found.items()},
            form,
        )
        for what, key, form in lines
    ]


def _targets(runs: int, found: dict[str, dict[str, float]]) -> list[Target]:
    ours, theirs = found[OURS], found[PROVIDER]
    ratio, round_ratio = theirs["cpu"] / ours["cpu"], theirs["round_cpu"] / ours["round_cpu"]
    requests, handshakes = ours["round_requests"], ours["all"]
    at = f"at {runs:,} runs"
    return [
        Target(f"{at} at most {MOST_REQUESTS} requests a round", f"{requests:g}", requests <= MOST_REQUESTS),
        Target(f"{at} at most {HANDFUL} handshakes in all", f"{handshakes:g}", handshakes <= HANDFUL),
        Target(
            f"{at} at least {LESS_CPU} times less CPU a round than the provider's at the same interval",
            f"{round_ratio:.0f} times",
            round_ratio >= LESS_CPU,
        ),
        Target(
            f"{at} at least {LESS_CPU} times less CPU in a minute, whatever the provider's got done in it",
            f"{ratio:.0f} times",
            ratio >= LESS_CPU,
        ),
    ]


def _name(runs: int) -> str:
    return f"{runs:,} run{'s' * (runs > 1)} waiting"


def _in_short(found: dict[str, dict[str, float]]) -> str:
    return ", ".join(f"{who} {one['cpu']:.2f} s of CPU a minute" for who, one in found.items())

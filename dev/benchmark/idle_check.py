"""Benchmark the check whether a job is idle, with histories of different sizes."""

from dev.benchmark.context import BenchmarkContext
from dev.benchmark.dbt_cloud import JOB_ID, count_requests, local_dbt_cloud
from dev.benchmark.result import OURS, TUTORIAL, BenchmarkResult, Row, Target
from dev.benchmark.workload import run_workload
from dev.temporary_stack import TemporaryDbtCloud
from scripts.exceptions import UserError
from scripts.settings import Settings

# Columns of the table, and names of the checks in the workload.
VARIANTS = (OURS, TUTORIAL)
# Number of checks by number of runs in the history; the tutorial's check is slow with a long history.
REPETITIONS = {
    1: {OURS: 20, TUTORIAL: 20},
    1000: {OURS: 20, TUTORIAL: 10},
    10_000: {OURS: 20, TUTORIAL: 5},
    50_000: {OURS: 20, TUTORIAL: 1},
}
QUICK_REPETITIONS = {1: {OURS: 5, TUTORIAL: 5}, 1000: {OURS: 5, TUTORIAL: 2}}
MIN_SPEEDUP = 50
SPEEDUP_HISTORY = 10_000

METHOD = (
    "A job has a history of finished runs. A process makes our check {ours} times and the tutorial's {most} "
    "to {least} times, fewer with a longer history, each time with a new hook, as in a Dag run. Times are "
    "medians. The process and the local dbt Cloud both count the requests."
)


def measure(context: BenchmarkContext) -> BenchmarkResult:
    """Measure both checks with each history."""
    repetitions = QUICK_REPETITIONS if context.quick else REPETITIONS
    requests: dict[int, Row] = {}
    milliseconds: dict[int, Row] = {}
    for history, times in repetitions.items():
        runs = f"{history:,} run{'s' * (history > 1)} of history"
        with context.progress.status(f"Check with {runs}"):
            with local_dbt_cloud(context.history_settings, history) as dbt_cloud:
                costs = {
                    variant: measure_check(context.history_settings, dbt_cloud, variant, times[variant])
                    for variant in VARIANTS
                }
        for key, rows in (("requests", requests), ("milliseconds", milliseconds)):
            rows[history] = Row(f"{runs}: {key}", {variant: cost[key] for variant, cost in costs.items()})
        results = ", ".join(f"{variant} {cost['milliseconds']:,.0f} ms" for variant, cost in costs.items())
        context.progress.done(f"Check with {runs}: {results}")
    counts = [times[TUTORIAL] for times in repetitions.values()]
    return BenchmarkResult(
        "check",
        "Check whether the job is idle",
        METHOD.format(ours=repetitions[1][OURS], most=max(counts), least=min(counts)),
        [*requests.values(), *milliseconds.values()],
        _targets(requests, milliseconds),
        {
            variant: [(float(history), row.values[variant]) for history, row in milliseconds.items()]
            for variant in VARIANTS
        },
    )


def measure_check(
    settings: Settings, dbt_cloud: TemporaryDbtCloud, variant: str, times: int
) -> dict[str, float]:
    """Make a check several times; return ``requests``, ``handshakes`` and ``milliseconds`` of one check.

    :raises UserError: The process and the local dbt Cloud counted different numbers of requests.
    """
    with count_requests(dbt_cloud) as count:
        cost = run_workload(settings, "check_job", variant, JOB_ID, times)
    # The workload makes one request before it starts counting.
    if count[0] != round(cost["requests"] * times) + 1:
        raise UserError(f"The local dbt Cloud counted {count[0]} requests; the workload reported {cost}.")
    return cost


def _targets(requests: dict[int, Row], milliseconds: dict[int, Row]) -> list[Target]:
    most = max(row.values[OURS] for row in requests.values())
    history = SPEEDUP_HISTORY if SPEEDUP_HISTORY in milliseconds else max(milliseconds)
    values = milliseconds[history].values
    speedup = values[TUTORIAL] / values[OURS]
    return [
        Target("1 request, however long the history is", f"{most:g}", most == 1),
        Target(
            f"at least {MIN_SPEEDUP} times faster than the tutorial's at {history:,} runs",
            f"{speedup:.0f} times",
            speedup >= MIN_SPEEDUP,
        ),
    ]

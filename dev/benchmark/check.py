"""Measures the check whether a job is idle, at several sizes of history."""

from dev.benchmark.context import BenchmarkContext
from dev.benchmark.dbt_cloud import JOB_ID, counting, local_dbt_cloud
from dev.benchmark.part import OURS, TUTORIAL, Part, Row, Target
from dev.benchmark.workload import run_workload
from dev.temporary_stack import TemporaryDbtCloud
from scripts.failure import Failure
from scripts.settings import Settings

# How often to check, by the runs in the job's history: the tutorial's check takes long where there are many.
TIMES = {1: {"ours": 20, "tutorial": 20}, 1000: {"ours": 20, "tutorial": 10},
         10_000: {"ours": 20, "tutorial": 5}, 50_000: {"ours": 20, "tutorial": 1}}  # fmt: skip
QUICK = {1: {"ours": 5, "tutorial": 5}, 1000: {"ours": 5, "tutorial": 2}}
FASTER = 50
AT = 10_000

HOW = (
    "One job with so many finished runs. A process makes the check {times} times our way and {theirs} "
    "times the tutorial's, fewer times the longer it takes, each time with a new hook, as each Dag run "
    "does; median. Requests are counted in the process and once more in the local dbt Cloud."
)


def measure(bench: BenchmarkContext) -> Part:
    """Check at each size of history, both ways."""
    sizes = QUICK if bench.quick else TIMES
    requests, milliseconds = [], []
    for history, times in sizes.items():
        with bench.progress.waiting(f"The check, with {history:,} runs of history"):
            with local_dbt_cloud(bench.with_history, history) as dbt_cloud:
                found = {who: check(bench.with_history, dbt_cloud, who, times[who]) for who in times}
        both = {OURS: found["ours"], TUTORIAL: found["tutorial"]}
        runs = f"{history:,} run{'s' * (history > 1)} of history"
        requests.append(Row(f"{runs}: requests", {who: one["requests"] for who, one in both.items()}))
        slow = {who: one["milliseconds"] for who, one in both.items()}
        milliseconds.append(Row(f"{runs}: milliseconds", slow, "{:,.0f}"))
        bench.progress.done(
            f"The check, with {runs}: {milliseconds[-1].cell(TUTORIAL)} ms the tutorial's way"
        )
    most = max(row.values[OURS] for row in requests)
    at = AT if AT in sizes else max(sizes)
    ratio = {size: row.values[TUTORIAL] / row.values[OURS]
             for size, row in zip(sizes, milliseconds, strict=True)}[at]  # fmt: skip
    targets = [
        Target("1 request at every size of history", f"{most:g}", most == 1),
        Target(f"at least {FASTER} times faster than the tutorial's at {at:,} runs", f"{ratio:.0f} times",
               ratio >= FASTER),
    ]  # fmt: skip
    raw = {
        who: [(float(size), row.values[who]) for size, row in zip(sizes, milliseconds, strict=True)]
        for who in (OURS, TUTORIAL)
    }
    theirs = [times["tutorial"] for times in sizes.values()]
    how = HOW.format(times=next(iter(sizes.values()))["ours"], theirs=f"{max(theirs)} to {min(theirs)}")
    return Part("check", "The check whether the job is idle", how, requests + milliseconds, targets, raw)


def check(settings: Settings, dbt_cloud: TemporaryDbtCloud, who: str, times: int) -> dict[str, float]:
    """Check so many times; return ``requests``, ``handshakes`` and median ``milliseconds`` of one check.

    :raises Failure: the process and the local dbt Cloud counted differently.
    """
    with counting(dbt_cloud) as counted:
        found = run_workload(settings, "check", who, JOB_ID, times)
    # One request comes before the process counts.
    if counted[0] != round(found["requests"] * times) + 1:
        raise Failure(f"{counted[0]} requests came to the local dbt Cloud; the check counted {found}.")
    return found

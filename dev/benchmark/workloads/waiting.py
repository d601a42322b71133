"""Waits for runs that never end, all triggers on one event loop as in a triggerer; prints what it costs."""

import argparse
import asyncio
import json
import resource
import sys
import time
from collections import Counter
from itertools import pairwise
from typing import Any

from airflow.providers.dbt.cloud.hooks.dbt import DbtCloudHook as ProviderHook
from airflow.providers.dbt.cloud.triggers.dbt import DbtCloudRunJobTrigger as ProviderTrigger

from dev.benchmark.workloads.counting import count
from include.dbt_cloud.trigger import DbtCloudRunJobTrigger

TRIGGERS = {"ours": DbtCloudRunJobTrigger, "provider": ProviderTrigger}


async def wait(options: argparse.Namespace) -> dict[str, Any]:
    """Return what ``seconds`` of waiting cost, after ``warm_up`` seconds, and in ``total`` what all did.

    ``megabytes`` is by how much the process's peak grew from before the first trigger, ``most_at_once`` how
    many requests followed each other without a pause of half an interval.
    """
    # What a process pays once, for whichever trigger comes first.
    await ProviderHook("dbt_conn").get_headers_tenants_from_connection()
    times: list[float] = []
    counts, before, ended = count(times), _peak(), Counter[str]()
    tasks = [asyncio.create_task(_run(options, run_id, ended)) for run_id in range(1, options.runs + 1)]
    await asyncio.sleep(options.warm_up)
    start, cpu, first = time.perf_counter(), time.process_time(), counts.copy()
    await asyncio.sleep(options.seconds)
    cpu, seconds = time.process_time() - cpu, time.perf_counter() - start
    measured, total = counts - first, counts.copy()
    megabytes = _peak() - before
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return {
        "requests": measured["requests"], "handshakes": measured["handshakes"], "cpu": cpu,
        "seconds": seconds, "megabytes": megabytes, "ended": ended.total(), "why": [*ended][:1],
        "total": dict(total), "most_at_once": _most_at_once(times, options.interval / 2),
    }  # fmt: skip


async def _run(options: argparse.Namespace, run_id: int, ended: Counter[str]) -> None:
    trigger = TRIGGERS[options.trigger](
        conn_id="dbt_conn",
        run_id=run_id,
        end_time=time.time() + 7 * 24 * 3600,
        poll_interval=options.interval,
        account_id=1,
        hook_params={},
    )
    async for event in trigger.run():
        ended[str(event.payload)] += 1


def _most_at_once(times: list[float], pause: float) -> int:
    most = length = 0
    for before, now in pairwise([float("-inf"), *times]):
        length = 1 if now - before > pause else length + 1
        most = max(most, length)
    return most


def _peak() -> float:
    """Return the most memory that the process has had, in megabytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("trigger", choices=TRIGGERS)
    parser.add_argument("runs", type=int)
    parser.add_argument("interval", type=float)
    parser.add_argument("warm_up", type=float)
    parser.add_argument("seconds", type=float)
    options = parser.parse_args()
    print(json.dumps(asyncio.run(wait(options))))


if __name__ == "__main__":
    main()

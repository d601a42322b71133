"""Wait for runs with all triggers on one event loop, as in a triggerer, and print the cost."""

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

from dev.benchmark.workloads.request_counter import count_requests
from include.dbt_cloud.trigger import DbtCloudRunJobTrigger

TRIGGERS = {"ours": DbtCloudRunJobTrigger, "provider": ProviderTrigger}


async def wait(options: argparse.Namespace) -> dict[str, Any]:
    """Run the triggers for ``warm_up`` and then ``seconds`` seconds, and return the cost of the latter.

    :return: ``requests``, ``handshakes`` and ``cpu`` (seconds) during ``seconds``; ``total``, the counts with
        those of the warm-up; ``megabytes``, the growth of the process's peak memory since the triggers
        started; ``longest_burst``, the most requests without a pause of half an interval; ``ended``, the
        number of triggers that stopped waiting, and one of their ``events``.
    """
    # Exclude the cost of the provider's first use in a process.
    await ProviderHook("dbt_conn").get_headers_tenants_from_connection()
    times: list[float] = []
    counts, peak_before, events = count_requests(times), _peak_memory(), Counter[str]()
    tasks = [asyncio.create_task(_run(options, run_id, events)) for run_id in range(1, options.runs + 1)]
    await asyncio.sleep(options.warm_up)
    start, cpu, counts_before = time.perf_counter(), time.process_time(), counts.copy()
    await asyncio.sleep(options.seconds)
    cpu, seconds = time.process_time() - cpu, time.perf_counter() - start
    measured, total = counts - counts_before, counts.copy()
    megabytes = _peak_memory() - peak_before
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return {
        "requests": measured["requests"], "handshakes": measured["handshakes"], "cpu": cpu,
        "seconds": seconds, "megabytes": megabytes, "ended": events.total(), "events": [*events][:1],
        "total": dict(total), "longest_burst": _longest_burst(times, options.interval / 2),
    }  # fmt: skip


async def _run(options: argparse.Namespace, run_id: int, events: Counter[str]) -> None:
    trigger = TRIGGERS[options.trigger](
        conn_id="dbt_conn",
        run_id=run_id,
        end_time=time.time() + 7 * 24 * 3600,
        poll_interval=options.interval,
        account_id=1,
        hook_params={},
    )
    async for event in trigger.run():
        events[str(event.payload)] += 1


def _longest_burst(times: list[float], pause: float) -> int:
    longest = length = 0
    for previous, current in pairwise([float("-inf"), *times]):
        length = 1 if current - previous > pause else length + 1
        longest = max(longest, length)
    return longest


def _peak_memory() -> float:
    """Return the peak memory of this process in megabytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser()
    parser.add_argument("trigger", choices=TRIGGERS)
    parser.add_argument("runs", type=int)
    parser.add_argument("interval", type=float, help="seconds between two polls")
    parser.add_argument("warm_up", type=float, help="seconds before the measurement")
    parser.add_argument("seconds", type=float, help="duration of the measurement")
    options = parser.parse_args()
    print(json.dumps(asyncio.run(wait(options))))


if __name__ == "__main__":
    main()

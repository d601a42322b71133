"""Check several times whether a job is idle, and print the cost of one check."""

import argparse
import json
import statistics
import time
from collections.abc import Callable

from airflow.providers.dbt.cloud.hooks.dbt import DbtCloudHook as ProviderHook

from dev.benchmark.workloads.request_counter import count_requests
from dev.benchmark.workloads.tutorial_dag import DBT_CLOUD_CONN_ID, latest_run_has_ended
from include.dbt_cloud.hook import DbtCloudHook


def check_job_is_not_running(job_id: int) -> bool:
    """Check as our Dag does, with a new hook each time."""
    return DbtCloudHook(DBT_CLOUD_CONN_ID).check_job_is_not_running(job_id)


CHECKS: dict[str, Callable[[int], bool]] = {
    "ours": check_job_is_not_running,
    "tutorial": latest_run_has_ended,
}


def main() -> None:
    """Print the mean ``requests`` and ``handshakes``, and the median ``milliseconds``, of one check."""
    parser = argparse.ArgumentParser()
    parser.add_argument("check", choices=CHECKS)
    parser.add_argument("job_id", type=int)
    parser.add_argument("times", type=int)
    options = parser.parse_args()
    # The first request of a process loads Airflow's providers: not part of a check.
    ProviderHook(DBT_CLOUD_CONN_ID).get_job_runs(payload={"limit": 1})
    counts, milliseconds = count_requests(), []
    for _ in range(options.times):
        start = time.perf_counter()
        assert CHECKS[options.check](options.job_id)
        milliseconds.append((time.perf_counter() - start) * 1000)
    means = {name: count / options.times for name, count in counts.items()}
    print(json.dumps(means | {"milliseconds": statistics.median(milliseconds)}))


if __name__ == "__main__":
    main()

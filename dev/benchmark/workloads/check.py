"""Asks several times whether a job is idle, ours or as the tutorial does, and prints what that cost."""

import argparse
import json
import statistics
import time

from airflow.providers.dbt.cloud.hooks.dbt import DbtCloudHook as ProviderHook

from dev.benchmark.workloads.counting import count
from dev.benchmark.workloads.tutorial_dag import DBT_CLOUD_CONN_ID, latest_run_has_ended
from include.dbt_cloud.hook import DbtCloudHook

CHECKS = {
    # As the Dags call them: with a new hook each time.
    "ours": lambda job_id: DbtCloudHook(DBT_CLOUD_CONN_ID).check_job_is_not_running(job_id),
    "tutorial": latest_run_has_ended,
}


def main() -> None:
    """Print ``milliseconds``, the median, ``requests`` and ``handshakes``, of one check."""
    parser = argparse.ArgumentParser()
    parser.add_argument("check", choices=CHECKS)
    parser.add_argument("job_id", type=int)
    parser.add_argument("times", type=int)
    options = parser.parse_args()
    # What the first request of a process costs, such as looking for Airflow's providers, both pay once.
    ProviderHook(DBT_CLOUD_CONN_ID).get_job_runs(payload={"limit": 1})
    counts, milliseconds = count(), []
    for _ in range(options.times):
        start = time.perf_counter()
        assert CHECKS[options.check](options.job_id)
        milliseconds.append((time.perf_counter() - start) * 1000)
    facts = {name: number / options.times for name, number in counts.items()}
    print(json.dumps(facts | {"milliseconds": statistics.median(milliseconds)}))


if __name__ == "__main__":
    main()

"""Run a local dbt Cloud for a benchmark, and measure it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psutil

from dev import temporary_stack
from dev.temporary_stack import TemporaryDbtCloud
from scripts.exceptions import UserError
from scripts.settings import Settings

DBT_PROJECT = Path(__file__).parent / "dbt_project"
JOB_ID = 1
RUNNING = 3


def local_dbt_cloud(
    settings: Settings, history: int = 0, job_ids: list[int] | None = None
) -> contextlib.AbstractContextManager[TemporaryDbtCloud]:
    """Run a local dbt Cloud while the block runs.

    :param history: Number of finished runs to create first.
    :param job_ids: IDs of the account's jobs, which run in parallel; one job if omitted.
    :raises UserError: It did not start.
    """
    jobs = {job_id: f"Job {job_id}" for job_id in job_ids or [JOB_ID]}
    account = temporary_stack.account("Benchmark", DBT_PROJECT, "dbt run", jobs)
    return temporary_stack.local_dbt_cloud(settings, account, history)


@contextlib.contextmanager
def count_requests(dbt_cloud: TemporaryDbtCloud, freeze: bool = False) -> Iterator[list[int]]:
    """Count the requests for runs while the block runs; the yielded list has the number after the block.

    :param freeze: Whether to report all runs as running.
    """
    # The log has room for 20,000 requests, more than any benchmark makes.
    dbt_cloud.clear_requests()
    if freeze:
        dbt_cloud.add_fault("/runs", times=None, run_status=RUNNING)
    count: list[int] = []
    yield count
    count.append(sum("/runs" in request["path"] for request in dbt_cloud.requests()))
    dbt_cloud.clear_faults()


def newest_run_finished_at(dbt_cloud: TemporaryDbtCloud, job_id: int) -> str | None:
    """Return when a job's newest run finished, in ISO 8601; None if it has not, or the job never ran.

    :raises UserError: The run did not succeed.
    """
    runs = dbt_cloud.get("runs/", job_definition_id=job_id, order_by="-id", limit=1)
    if runs and runs[0]["status_humanized"] in ("Error", "Cancelled"):
        run = runs[0]
        raise UserError(f"Run {run['id']} ended: {run['status_humanized']}. {run['status_message']}")
    return runs[0]["finished_at"] if runs else None


def memory_usage(dbt_cloud: TemporaryDbtCloud) -> float:
    """Return the memory of the local dbt Cloud's process in megabytes."""
    return psutil.Process(dbt_cloud.process.pid).memory_info().rss / 1e6

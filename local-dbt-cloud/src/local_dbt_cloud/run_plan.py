"""What a run calls dbt for: the steps of its job, or what is left of the run that it retries."""

import re
from bisect import bisect_left
from collections.abc import Callable
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from local_dbt_cloud.data_directory import DataDirectory
from local_dbt_cloud.database import ACTIVE, Job, Run, RunStatus
from local_dbt_cloud.dbt_commands import dbt_command
from local_dbt_cloud.job_definition import JobDefinition
from local_dbt_cloud.trigger_request import TriggerRequest

# The steps before it clone the repository and create the profile.
FIRST_DBT_STEP = 3

# docs.getdbt.com/reference/commands/retry: the commands it supports, and the first version that has it.
RETRYABLE = {
    "build", "clone", "compile", "docs generate", "retry", "run", "run-operation", "seed", "snapshot", "test",
}  # fmt: skip
RETRY_SINCE = (1, 6)


class DbtStep(NamedTuple):
    """A step that calls dbt.

    When it ``may_fail``, the run goes on after its failure. ``state`` is where in the data directory the
    artifacts are that ``dbt retry`` goes on from.
    """

    command: str
    may_fail: bool = False
    state: str | None = None


def steps_of_job(job: JobDefinition, request: TriggerRequest) -> list[DbtStep]:
    """Return the steps of a run, in order; the job's settings hold where the request is silent."""
    docs = job.generate_docs if request.generate_docs_override is None else request.generate_docs_override
    return [
        DbtStep("dbt deps"),
        *([DbtStep("dbt source freshness", may_fail=True)] if job.run_generate_sources else []),
        *(DbtStep(command) for command in request.steps_override or job.execute_steps),
        *([DbtStep("dbt docs generate", may_fail=True)] if docs else []),
    ]


def failed_and_skipped(run: Run) -> tuple[DbtStep | None, list[DbtStep]]:
    """Return the step that a failed run ended at, None if it never called dbt, and those it never reached."""
    steps = [DbtStep(*step) for step in run.dbt_steps]
    position = (run.run_steps[-1].index if run.run_steps else 0) - FIRST_DBT_STEP
    if not 0 <= position < len(steps):
        return None, steps
    return steps[position], steps[position + 1 :]


def steps_of_retry(run: Run, data: DataDirectory) -> list[DbtStep]:
    """Return the steps of a run that goes on from where another failed."""
    _, skipped = failed_and_skipped(run)
    failed_at = data.artifacts(run.id, run.run_steps[-1].index).relative_to(data.root)
    return [DbtStep("dbt deps"), DbtStep("dbt retry", state=failed_at.as_posix()), *skipped]


def newest_run_id(session: Session, job_id: int) -> int | None:
    """Return the id of a job's newest run, None if it has none."""
    return session.scalar(select(func.max(Run.id)).where(Run.job_definition_id == job_id))


def active_run_ids(session: Session, job_id: int) -> list[int]:
    """Return the ids of a job's active runs, oldest first."""
    of_job = (Run.job_definition_id == job_id, Run.status.in_(ACTIVE))
    # Not sorted by SQLite, which would walk through all runs of the job to have them in order.
    return sorted(session.scalars(select(Run.id).where(*of_job)))


def blocked_by(run: Run, active_ids: Callable[[int], list[int]]) -> list[int]:
    """Return the id of the active run of the same job that is just ahead of a queued run, if there is one.

    :param active_ids: returns the ids of a job's active runs, oldest first.
    """
    if run.status != RunStatus.QUEUED:
        return []
    ids = active_ids(run.job_definition_id)
    position = bisect_left(ids, run.id)
    return ids[max(position - 1, 0) : position]


def retry_refusal(
    session: Session, data: DataDirectory, run: Run, newest_id: int | None = None
) -> str | None:
    """Return why a run cannot be retried, in the words of dbt Cloud's RetryNotSupportedReasonEnum, or None.

    :param newest_id: the id of the newest run of its job, where it is known already.
    """
    if run.status != RunStatus.ERROR:
        return "RETRY_NOT_FAILED_RUN"
    if run.id != (newest_id or newest_run_id(session, run.job_definition_id)):
        return "RETRY_NOT_LATEST_RUN"
    job = session.get(Job, run.job_definition_id)
    # No reason of dbt Cloud's says that the job is deleted or lives elsewhere now.
    if job is None or job.state != 1 or job.definition["environment_id"] != run.environment_id:
        return "RETRY_UNSUPPORTED_CMD"
    version = re.match(r"(\d{1,9})\.(\d{1,9})", run.dbt_version)
    if version and (int(version[1]), int(version[2])) < RETRY_SINCE:
        return "RETRY_UNSUPPORTED_VERSION"
    failed, _ = failed_and_skipped(run)
    if failed is None or dbt_command(failed.command) not in RETRYABLE:
        return "RETRY_UNSUPPORTED_CMD"
    if not (data.artifacts(run.id, run.run_steps[-1].index) / "run_results.json").is_file():
        return "RETRY_NO_RUN_RESULTS"
    return None

"""The dbt commands of a run: the steps of its job, or the remaining steps of the run that it retries."""

import re
from bisect import bisect_left
from collections.abc import Callable
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from local_dbt_cloud.data_directory import DataDirectory
from local_dbt_cloud.database import Job, JobState, Run
from local_dbt_cloud.dbt_commands import dbt_command
from local_dbt_cloud.job_definition import JobDefinition
from local_dbt_cloud.run_status import ACTIVE_STATUSES, RunStatus
from local_dbt_cloud.trigger_request import TriggerRequest

# Steps 1 and 2 clone the repository and create the profile.
FIRST_DBT_STEP = 3

# Commands that dbt can retry, and the first version with this command:
# docs.getdbt.com/reference/commands/retry.
RETRYABLE_COMMANDS = {
    "build", "clone", "compile", "docs generate", "retry", "run", "run-operation", "seed", "snapshot", "test",
}  # fmt: skip
FIRST_VERSION_WITH_RETRY = (1, 6)


class DbtStep(NamedTuple):
    """A step that runs dbt; stored in ``Run.dbt_steps`` as a list of its fields.

    :param continue_on_error: Whether the run continues after a failure of this step.
    :param state_dir: For ``dbt retry``: directory with the artifacts of the failed step, relative to the data
        directory.
    """

    command: str
    continue_on_error: bool = False
    state_dir: str | None = None


def plan_run(job: JobDefinition, request: TriggerRequest) -> list[DbtStep]:
    """Return the dbt steps of a run in order; overrides of the request replace settings of the job."""
    docs = job.generate_docs if request.generate_docs_override is None else request.generate_docs_override
    return [
        DbtStep("dbt deps"),
        *([DbtStep("dbt source freshness", continue_on_error=True)] if job.run_generate_sources else []),
        *(DbtStep(command) for command in request.steps_override or job.execute_steps),
        *([DbtStep("dbt docs generate", continue_on_error=True)] if docs else []),
    ]


def plan_retry(failed_run: Run, data: DataDirectory) -> list[DbtStep]:
    """Return the dbt steps of a run that retries a failed run from the point of failure."""
    _, skipped = failed_and_skipped_steps(failed_run)
    artifacts = data.artifacts(failed_run.id, failed_run.run_steps[-1].index).relative_to(data.root)
    return [DbtStep("dbt deps"), DbtStep("dbt retry", state_dir=artifacts.as_posix()), *skipped]


def failed_and_skipped_steps(run: Run) -> tuple[DbtStep | None, list[DbtStep]]:
    """Return the failed step (None if the run failed before its first dbt step) and the steps after it."""
    steps = [DbtStep(*step) for step in run.dbt_steps]
    position = (run.run_steps[-1].index if run.run_steps else 0) - FIRST_DBT_STEP
    if not 0 <= position < len(steps):
        return None, steps
    return steps[position], steps[position + 1 :]


def newest_run_id(session: Session, job_id: int) -> int | None:
    """Return the ID of a job's newest run, or None if it never ran."""
    return session.scalar(select(func.max(Run.id)).where(Run.job_definition_id == job_id))


def active_run_ids(session: Session, job_id: int) -> list[int]:
    """Return the IDs of a job's active runs, oldest first."""
    conditions = (Run.job_definition_id == job_id, Run.status.in_(ACTIVE_STATUSES))
    # With ORDER BY, SQLite would scan all runs of the job in the order of their IDs.
    return sorted(session.scalars(select(Run.id).where(*conditions)))


def blocked_by(run: Run, active_ids: Callable[[int], list[int]]) -> list[int]:
    """Return the API's ``blocked_by``: the ID of the active run of the same job that precedes a queued run.

    :param active_ids: Function that returns the IDs of a job's active runs, oldest first.
    """
    if run.status != RunStatus.QUEUED:
        return []
    ids = active_ids(run.job_definition_id)
    position = bisect_left(ids, run.id)
    return ids[max(position - 1, 0) : position]


def retry_not_supported_reason(
    session: Session, data: DataDirectory, run: Run, newest_id: int | None = None
) -> str | None:
    """Return why a run cannot be retried, as a ``RetryNotSupportedReasonEnum`` of the API, or None if it can.

    :param newest_id: ID of the newest run of the same job, if the caller knows it.
    """
    if run.status != RunStatus.ERROR:
        return "RETRY_NOT_FAILED_RUN"
    if run.id != (newest_id or newest_run_id(session, run.job_definition_id)):
        return "RETRY_NOT_LATEST_RUN"
    job = session.get(Job, run.job_definition_id)
    # The enum has no value for a job that was deleted or moved to another environment.
    if job is None or job.state != JobState.ACTIVE or job.definition["environment_id"] != run.environment_id:
        return "RETRY_UNSUPPORTED_CMD"
    version = re.match(r"(\d{1,9})\.(\d{1,9})", run.dbt_version)
    if version and (int(version[1]), int(version[2])) < FIRST_VERSION_WITH_RETRY:
        return "RETRY_UNSUPPORTED_VERSION"
    failed, _ = failed_and_skipped_steps(run)
    if failed is None or dbt_command(failed.command) not in RETRYABLE_COMMANDS:
        return "RETRY_UNSUPPORTED_CMD"
    if not (data.artifacts(run.id, run.run_steps[-1].index) / "run_results.json").is_file():
        return "RETRY_NO_RUN_RESULTS"
    return None

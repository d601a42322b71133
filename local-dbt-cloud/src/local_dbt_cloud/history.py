"""Fills the store with finished runs, for trying things at scale."""

from datetime import timedelta

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from local_dbt_cloud.database import ACTIVE, Run, RunStatus, now
from local_dbt_cloud.dbt_process import dbt_version
from local_dbt_cloud.job_store import active_jobs
from local_dbt_cloud.trigger_request import TriggerRequest

CAUSE = "Made by --history, nothing ran"
MESSAGES = {
    RunStatus.SUCCESS: None,
    RunStatus.ERROR: "An example of a failure.",
    RunStatus.CANCELLED: "Cancelled.",
}


def fill_history(session: Session, count: int) -> int:
    """Add finished runs of all jobs until there are ``count``, and return how many were added.

    They lie between the newest run and now, a minute apart at most, so that the order of their ids is that of
    time. One in ten failed, one in fifty was cancelled.
    """
    missing = count - (session.scalar(select(func.count(Run.id)).where(Run.status.not_in(ACTIVE))) or 0)
    jobs = active_jobs(session)
    if missing <= 0 or not jobs:
        return 0
    end = now()
    newest = session.scalar(select(func.max(Run.created_at))) or end - timedelta(minutes=missing)
    apart = min(timedelta(minutes=1), (end - newest) // missing)
    trigger = TriggerRequest(cause=CAUSE).model_dump()
    rows = []
    for number in range(missing):
        job = jobs[number % len(jobs)]
        created = end - apart * (missing - number) + apart / 4
        status = RunStatus.ERROR if number % 10 == 9 else RunStatus.SUCCESS
        if number % 50 == 25:
            status = RunStatus.CANCELLED
        rows.append(
            {
                "job_definition_id": job.id,
                "project_id": job.definition["project_id"],
                "environment_id": job.definition["environment_id"],
                "status": status,
                "status_message": MESSAGES[status],
                "trigger": trigger,
                "dbt_version": dbt_version(),
                "created_at": created,
                "dequeued_at": created + apart / 10,
                "started_at": created + apart / 5,
                "finished_at": created + apart / 2,
            }
        )
    session.execute(insert(Run), rows)
    return missing

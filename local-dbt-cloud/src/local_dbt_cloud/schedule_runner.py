"""Trigger the runs of scheduled jobs at their times."""

import asyncio
import logging
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from local_dbt_cloud.database import Run, utc_now
from local_dbt_cloud.job_store import active_jobs
from local_dbt_cloud.run_status import RunStatus
from local_dbt_cloud.schedule import next_run
from local_dbt_cloud.scheduler import Scheduler
from local_dbt_cloud.trigger_request import TriggerRequest

log = logging.getLogger(__name__)

CATEGORY = "scheduled"


async def run_schedules(scheduler: Scheduler, sessions: sessionmaker[Session]) -> None:
    """Trigger due jobs at the beginning of every minute, forever.

    If the machine was suspended, a job runs once for all times that it missed.
    """
    checked = utc_now()
    while True:
        await asyncio.sleep(60 - utc_now().timestamp() % 60)
        now = utc_now()
        try:
            trigger_due_jobs(scheduler, sessions, checked, now)
        except Exception as error:
            log.error("Failed to trigger scheduled jobs: %s", error)
        checked = now


def trigger_due_jobs(
    scheduler: Scheduler, sessions: sessionmaker[Session], after: datetime, until: datetime
) -> None:
    """Trigger the jobs that have a scheduled time in an interval.

    As in dbt Cloud, runs of a job that takes longer than its interval do not pile up: the job is skipped
    while a scheduled run of it is queued.
    """
    with sessions() as session:
        scheduled = [job for job in active_jobs(session) if job.definition["triggers"]["schedule"]]
        queued = select(Run.job_definition_id).where(
            Run.status == RunStatus.QUEUED, Run.cause_category == CATEGORY
        )
        waiting = set(session.scalars(queued))
    for job in scheduled:
        try:
            if job.id not in waiting and next_run(job.definition["schedule"]["cron"], after) <= until:
                scheduler.trigger(job.id, TriggerRequest(cause="Scheduled"), CATEGORY)
        except Exception as error:
            # The other jobs must start.
            log.error("Failed to trigger scheduled job %d: %s", job.id, error)

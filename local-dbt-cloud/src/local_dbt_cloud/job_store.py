"""Stored jobs: those that account.yaml declares, and those that clients create."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from local_dbt_cloud.account import AccountConfig
from local_dbt_cloud.database import Job, JobState
from local_dbt_cloud.job_definition import JobDefinition


class InvalidReference(Exception):
    """A job definition refers to an account, project or environment that does not exist or does not match.

    :param field: Field of the definition that is invalid.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def sync_declared_jobs(session: Session, config: AccountConfig) -> None:
    """Update the stored jobs from account.yaml.

    Changes by clients are kept until the job's entry in the file changes. Jobs that were removed from the
    file, and jobs whose environment was removed, are deleted.
    """
    declared = {job.id: job.model_dump(mode="json", exclude={"id"}) for job in config.jobs}
    for job_id, definition in declared.items():
        job = session.get(Job, job_id) or Job(id=job_id)
        if job.declared != definition:
            job.state, job.definition, job.declared = JobState.ACTIVE, definition, definition
            session.add(job)
    for job in active_jobs(session):
        was_removed = job.declared is not None and job.id not in declared
        environment = config.environment(job.definition["environment_id"])
        if was_removed or environment is None:
            job.state, job.declared = JobState.DELETED, None
        else:
            parents = {"project_id": environment.project_id, "account_id": config.account.id}
            job.definition = job.definition | parents


def active_jobs(session: Session) -> list[Job]:
    """Return the jobs that are not deleted, ordered by ID."""
    return list(session.scalars(select(Job).where(Job.state == JobState.ACTIVE).order_by(Job.id)))


def active_job(session: Session, job_id: int) -> Job | None:
    """Return a job, or None if it does not exist or is deleted."""
    job = session.get(Job, job_id)
    return job if job and job.state == JobState.ACTIVE else None


def job_definition(job: Job) -> JobDefinition:
    """Return the definition of a stored job."""
    return JobDefinition.model_validate(job.definition)


def resolve_references(config: AccountConfig, definition: JobDefinition) -> dict[str, Any]:
    """Return a definition as it is stored, with the account and project of its environment.

    :raises InvalidReference: The account, project or environment does not exist, or they do not match.
    """
    environment = config.environment(definition.environment_id)
    if environment is None:
        raise InvalidReference("environment_id", f"Environment {definition.environment_id} does not exist.")
    if definition.project_id not in (None, environment.project_id):
        raise InvalidReference(
            "project_id", f"Environment {environment.id} belongs to project {environment.project_id}."
        )
    if definition.account_id not in (None, config.account.id):
        raise InvalidReference("account_id", f"The account of this API is {config.account.id}.")
    parents = {"project_id": environment.project_id, "account_id": config.account.id}
    return definition.model_copy(update=parents).model_dump(mode="json")

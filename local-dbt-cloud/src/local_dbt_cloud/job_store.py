"""The jobs in the store: those that account.yaml declares, and those that clients create."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from local_dbt_cloud.account import Declaration
from local_dbt_cloud.database import Job
from local_dbt_cloud.job_definition import JobDefinition

ACTIVE, DELETED = 1, 2


class UnknownLocation(Exception):
    """A definition names a place that is not in the account; ``field`` says which."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field = field


def declare_jobs(session: Session, declaration: Declaration) -> None:
    """Bring the jobs in the store in line with account.yaml.

    What clients have changed since a job was declared stays, until its entry in the file changes. A job that
    left the file, and one whose environment did, is deleted.
    """
    declared = {job.id: job.model_dump(mode="json", exclude={"id"}) for job in declaration.jobs}
    for job_id, definition in declared.items():
        job = session.get(Job, job_id) or Job(id=job_id)
        if job.declared != definition:
            job.state, job.definition, job.declared = ACTIVE, definition, definition
            session.add(job)
    for job in session.scalars(select(Job).where(Job.state == ACTIVE)):
        left = job.declared is not None and job.id not in declared
        environment = declaration.environment(job.definition["environment_id"])
        if left or environment is None:
            job.state, job.declared = DELETED, None
        else:
            place = {"project_id": environment.project_id, "account_id": declaration.account.id}
            job.definition = job.definition | place


def active_jobs(session: Session) -> list[Job]:
    """Return the jobs that are not deleted, in the order of their ids."""
    return list(session.scalars(select(Job).where(Job.state == ACTIVE).order_by(Job.id)))


def active_job(session: Session, job_id: int) -> Job | None:
    """Return a job, None if there is none or it is deleted."""
    job = session.get(Job, job_id)
    return job if job and job.state == ACTIVE else None


def definition_of(job: Job) -> JobDefinition:
    """Return a stored job's definition."""
    return JobDefinition.model_validate(job.definition)


def placed(declaration: Declaration, definition: JobDefinition) -> dict[str, Any]:
    """Return a definition as it is stored, in the project of its environment.

    :raises UnknownLocation: its account, project or environment does not exist, or they do not fit.
    """
    environment = declaration.environment(definition.environment_id)
    if environment is None:
        raise UnknownLocation("environment_id", f"Environment {definition.environment_id} does not exist.")
    if definition.project_id not in (None, environment.project_id):
        raise UnknownLocation(
            "project_id", f"Environment {environment.id} belongs to project {environment.project_id}."
        )
    if definition.account_id not in (None, declaration.account.id):
        raise UnknownLocation("account_id", f"This is account {declaration.account.id}.")
    place = {"project_id": environment.project_id, "account_id": declaration.account.id}
    return definition.model_copy(update=place).model_dump(mode="json")

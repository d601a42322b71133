"""Stored jobs, and validation of what their definitions refer to."""

from typing import Any

from sqlalchemy.orm import Session

from local_dbt_cloud.database import Environment, Job
from local_dbt_cloud.job_definition import JobDefinition, check_completion_triggers
from local_dbt_cloud.provisioning import active_object, active_objects


class InvalidReference(Exception):
    """A job definition refers to an object of the account that does not exist or does not match.

    :param field: Field of the definition that is invalid.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def active_jobs(session: Session) -> list[Job]:
    """Return the jobs that are not deleted, ordered by ID."""
    return active_objects(session, Job)


def active_job(session: Session, job_id: int) -> Job | None:
    """Return a job, or None if it does not exist or is deleted."""
    return active_object(session, Job, job_id)


def job_definition(job: Job) -> JobDefinition:
    """Return the definition of a stored job."""
    return JobDefinition.model_validate(job.definition)


def resolve_references(
    session: Session, account_id: int, definition: JobDefinition, job_id: int | None
) -> dict[str, Any]:
    """Return a definition as it is stored, with the account and project of its environment.

    :param job_id: ID of the job; None if it is new.
    :raises InvalidReference: The account, project, environment or upstream job does not exist, or they do
        not match.
    """
    environment = active_object(session, Environment, definition.environment_id)
    if environment is None:
        raise InvalidReference("environment_id", f"Environment {definition.environment_id} does not exist.")
    project_id = environment.definition["project_id"]
    if definition.project_id not in (None, project_id):
        raise InvalidReference("project_id", f"Environment {environment.id} belongs to project {project_id}.")
    if definition.account_id not in (None, account_id):
        raise InvalidReference("account_id", f"The account of this API is {account_id}.")

    def find(upstream_id: int) -> JobDefinition | None:
        # A deleted job starts nothing, but its downstream jobs can still be updated.
        job = session.get(Job, upstream_id)
        return job_definition(job) if job else None

    try:
        check_completion_triggers(job_id, definition, find)
    except ValueError as error:
        raise InvalidReference("job_completion_trigger_condition", f"{error}.") from error
    parents = {"project_id": project_id, "account_id": account_id}
    return definition.model_copy(update=parents).model_dump(mode="json")

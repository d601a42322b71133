"""Environment variables that dbt Cloud passes to dbt, with values per project, environment and job."""

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from local_dbt_cloud.database import EnvironmentVariable, Run

# In ascending precedence:
# docs.getdbt.com/docs/build/environment-variables, "Setting and overriding environment variables".
SCOPES = ("project", "environment", "job")
SECRET_PREFIX = "DBT_ENV_SECRET"  # noqa: S105
MASK = "**********"


def visible_variables(
    session: Session, project_id: int, environment_id: int, job_id: int
) -> list[EnvironmentVariable]:
    """Return the values that runs of a job can see, in ascending precedence."""
    variables = session.scalars(
        select(EnvironmentVariable)
        .where(
            EnvironmentVariable.project_id == project_id,
            or_(
                EnvironmentVariable.type == "project",
                (EnvironmentVariable.type == "environment")
                & (EnvironmentVariable.environment_id == environment_id),
                (EnvironmentVariable.type == "job") & (EnvironmentVariable.job_definition_id == job_id),
            ),
        )
        .order_by(EnvironmentVariable.id)
    )
    return sorted(variables, key=lambda variable: SCOPES.index(variable.type))


def effective_variables(session: Session, run: Run) -> dict[str, str]:
    """Return the variables of a run by name, each with its value of the highest precedence."""
    variables = visible_variables(session, run.project_id, run.environment_id, run.job_definition_id)
    return {variable.name: variable.raw_value for variable in variables}


def display_value(variable: EnvironmentVariable) -> str:
    """Return the value as dbt Cloud shows it, with secrets masked."""
    return MASK if variable.name.startswith(SECRET_PREFIX) else variable.raw_value


def is_mask(name: str, value: str | None) -> bool:
    """Return whether a client sends back what it read as the value of a secret."""
    return name.startswith(SECRET_PREFIX) and value == MASK

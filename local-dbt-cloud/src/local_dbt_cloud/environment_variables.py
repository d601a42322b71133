"""The environment variables that a project, an environment or a job gives to dbt."""

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from local_dbt_cloud.database import EnvironmentVariable, Run

# Where a variable may have a value, the weakest first:
# docs.getdbt.com/docs/build/environment-variables, "Setting and overriding environment variables".
SCOPES = ("project", "environment", "job")
SECRET_PREFIX = "DBT_ENV_SECRET"  # noqa: S105


def variables_in_reach(
    session: Session, project_id: int, environment_id: int, job_id: int
) -> list[EnvironmentVariable]:
    """Return the values that a job's runs can see, the weakest scope first."""
    variable = EnvironmentVariable
    found = session.scalars(
        select(variable)
        .where(
            variable.project_id == project_id,
            or_(
                variable.type == "project",
                (variable.type == "environment") & (variable.environment_id == environment_id),
                (variable.type == "job") & (variable.job_definition_id == job_id),
            ),
        )
        .order_by(variable.id)
    )
    return sorted(found, key=lambda one: SCOPES.index(one.type))


def variables_of_run(session: Session, run: Run) -> dict[str, str]:
    """Return names and values as dbt is to see them."""
    found = variables_in_reach(session, run.project_id, run.environment_id, run.job_definition_id)
    return {variable.name: variable.raw_value for variable in found}


def display_value(variable: EnvironmentVariable) -> str:
    """Return a value as dbt Cloud shows it: that of a secret stays hidden."""
    return "**********" if variable.name.startswith(SECRET_PREFIX) else variable.raw_value

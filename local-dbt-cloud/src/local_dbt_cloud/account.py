"""Load account.yaml: the account and its projects, environments and jobs."""

import os
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from local_dbt_cloud.errors import UserError
from local_dbt_cloud.job_definition import JobDefinition, check_completion_triggers
from local_dbt_cloud.run_course import Course
from local_dbt_cloud.validation import (
    FORBID_UNKNOWN_FIELDS,
    Id,
    InputModel,
    ShortText,
    Text,
    TextWithoutJinja,
)

# A file in the data directory.
DatabaseName = Annotated[str, Field(pattern=r"^[\w.-]+\.duckdb$", max_length=255)]


class Account(InputModel):
    """The account; ``run_slots`` is the maximum number of active runs."""

    id: Id
    name: str
    run_slots: int = Field(default=1, ge=1)


class Project(InputModel):
    """A dbt project.

    :param directory: Root of its repository; contains dbt_project.yml, here or in the subdirectory.
        Simulated jobs do not need it.
    :param remote_url: Address of the repository in dbt Cloud. Projects that clients create with a repository
        of this address use the same directory.
    """

    id: Id
    name: ShortText
    directory: Path | None = None
    dbt_project_subdirectory: Text = ""
    remote_url: ShortText | None = None

    @property
    def repository_url(self) -> str:
        """Address of the repository; that of the directory if the file declares none."""
        no_directory = f"https://local-dbt-cloud.invalid/{self.id}.git"
        return self.remote_url or (self.directory.as_uri() if self.directory else no_directory)


class Environment(InputModel):
    """The target of a project's jobs: a DuckDB file in the data directory and a default schema."""

    id: Id
    project_id: Id
    name: ShortText
    database: DatabaseName
    # "schema" is a method of pydantic's BaseModel.
    default_schema: TextWithoutJinja = Field(alias="schema")


class DeclaredJob(JobDefinition):
    """A job of account.yaml: it needs an ID and steps, which are optional for clients of the API.

    With a ``simulation``, its runs follow these courses, and dbt does not execute them.
    """

    id: Id
    execute_steps: list[Text] = Field(min_length=1)
    simulation: list[Course] = Field(default=[])


class _StrictLoader(yaml.SafeLoader):
    """Reject a key that occurs twice; YAML would use the last one."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        keys = [key.value for key, _ in node.value]
        if duplicates := [key for key in keys if keys.count(key) > 1]:
            raise yaml.MarkedYAMLError(None, None, f"{duplicates[0]!r} occurs twice", node.start_mark)
        return node


class AccountConfig(InputModel):
    """The contents of account.yaml."""

    account: Account
    projects: list[Project]
    environments: list[Environment]
    jobs: list[DeclaredJob]

    @model_validator(mode="after")
    def _check_ids_are_unique(self) -> Self:
        for kind, entries in (
            ("project", self.projects),
            ("environment", self.environments),
            ("job", self.jobs),
        ):
            ids = [entry.id for entry in entries]
            duplicates = [entry_id for entry_id in ids if ids.count(entry_id) > 1]
            if duplicates:
                raise ValueError(f"{kind} id {min(duplicates)} is declared more than once")
        return self

    @model_validator(mode="after")
    def _check_references(self) -> Self:
        for environment in self.environments:
            if self.project(environment.project_id) is None:
                raise ValueError(
                    f"environment {environment.id} refers to project {environment.project_id}, "
                    "which is not declared"
                )
        for job in self.jobs:
            job_environment = self.environment(job.environment_id)
            if job_environment is None:
                raise ValueError(
                    f"job {job.id} refers to environment {job.environment_id}, which is not declared"
                )
            job.account_id, job.project_id = self.account.id, job_environment.project_id
        jobs = {job.id: job for job in self.jobs}
        for job in self.jobs:
            check_completion_triggers(job.id, job, jobs.get)
        return self

    def project(self, project_id: int) -> Project | None:
        """Return a project by its ID, or None."""
        return next((project for project in self.projects if project.id == project_id), None)

    def environment(self, environment_id: int) -> Environment | None:
        """Return an environment by its ID, or None."""
        return next((entry for entry in self.environments if entry.id == environment_id), None)


def load_account_config(path: Path) -> AccountConfig:
    """Read and validate account.yaml.

    :raises UserError: The file cannot be read, or an entry is missing or invalid.
    """
    try:
        content: Any = _StrictLoader(path.read_text(encoding="utf-8")).get_single_data()
        config = AccountConfig.model_validate(content, context=FORBID_UNKNOWN_FIELDS)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Cannot read the account file {path}: {error}.") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise UserError(f"The account file {path} is not valid YAML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        location = ".".join(str(part) for part in first["loc"]) or "top level"
        reason = first["msg"].removeprefix("Value error, ").rstrip(".?")
        raise UserError(f"The account file {path} is invalid at {location}: {reason}.") from error
    for project in config.projects:
        if project.directory is None:
            continue
        directory = path.parent / project.directory
        root = directory / project.dbt_project_subdirectory
        # Unlike Path.is_file(), it also accepts names that are too long or contain NUL.
        if not os.path.isfile(root / "dbt_project.yml"):  # noqa: PTH113
            raise UserError(
                f"Project {project.id} in {path} has no dbt_project.yml in {root}: "
                "set its directory to a dbt project."
            )
        project.directory = directory.resolve()
    return config

"""Reads account.yaml: the account, its projects, environments and jobs."""

from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from local_dbt_cloud.errors import UserError
from local_dbt_cloud.job_definition import JobDefinition
from local_dbt_cloud.validation import STRICT, Entry, Id, Plain, Text


class Account(Entry):
    """The account itself; ``run_slots`` bounds how many runs are active at once."""

    id: Id
    name: str
    run_slots: int = Field(default=1, ge=1)


class Project(Entry):
    """A dbt project: ``directory`` holds its dbt_project.yml."""

    id: Id
    name: str
    directory: Path


class Environment(Entry):
    """Where the jobs of a project build: a DuckDB ``database`` file and a default ``schema`` in it."""

    id: Id
    project_id: Id
    name: str
    database: str = Field(pattern=r"^[\w.-]+\.duckdb$")
    # "schema" is a method of pydantic's BaseModel.
    default_schema: Plain = Field(alias="schema")


class DeclaredJob(JobDefinition):
    """A job with the id that it is to have, and with steps: clients may create one without."""

    id: Id
    execute_steps: list[Text] = Field(min_length=1)


class Declaration(Entry):
    """The whole of account.yaml."""

    account: Account
    projects: list[Project]
    environments: list[Environment]
    jobs: list[DeclaredJob]

    @model_validator(mode="after")
    def _refers_to_what_it_declares(self) -> Self:
        for kind, entries in (
            ("project", self.projects),
            ("environment", self.environments),
            ("job", self.jobs),
        ):
            ids = [entry.id for entry in entries]
            if twice := {i for i in ids if ids.count(i) > 1}:
                raise ValueError(f"two entries have the {kind} id {min(twice)}")
        for environment in self.environments:
            if self.project(environment.project_id) is None:
                raise ValueError(f"environment {environment.id} names project {environment.project_id}, "
                                 "which is not declared")  # fmt: skip
        for job in self.jobs:
            environment = self.environment(job.environment_id)
            if environment is None:
                raise ValueError(
                    f"job {job.id} names environment {job.environment_id}, which is not declared"
                )
            job.account_id, job.project_id = self.account.id, environment.project_id
        return self

    def project(self, project_id: int) -> Project | None:
        """Return the project with this id, None if there is none."""
        return next((project for project in self.projects if project.id == project_id), None)

    def environment(self, environment_id: int) -> Environment | None:
        """Return the environment with this id, None if there is none."""
        return next((entry for entry in self.environments if entry.id == environment_id), None)

    def place_of(self, environment_id: int) -> tuple[Project, Environment]:
        """Return a declared environment and its project."""
        environment = self.environment(environment_id)
        assert environment is not None
        project = self.project(environment.project_id)
        assert project is not None
        return project, environment


def read_declaration(path: Path) -> Declaration:
    """Read and check account.yaml.

    :raises UserError: the file cannot be read, or an entry is missing or wrong; says which.
    """
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        declaration = Declaration.model_validate(content, context=STRICT)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Cannot read the account file {path}: {error}.") from error
    except yaml.YAMLError as error:
        raise UserError(f"The account file {path} is not YAML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        message = first["msg"].removeprefix("Value error, ").rstrip(".?")
        raise UserError(f"The account file {path} is wrong at {where}: {message}.") from error
    for project in declaration.projects:
        project.directory = (path.parent / project.directory).resolve()
        if not (project.directory / "dbt_project.yml").is_file():
            raise UserError(
                f"Project {project.id} in {path} has no dbt_project.yml in {project.directory}: "
                "set its directory to a dbt project."
            )
    return declaration

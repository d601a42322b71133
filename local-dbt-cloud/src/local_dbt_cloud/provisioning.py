"""Projects, environments and what they refer to: account.yaml declares them, clients provision more."""

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, model_validator
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from local_dbt_cloud.account import AccountConfig, DatabaseName
from local_dbt_cloud.database import (
    AccountObject,
    Connection,
    Credentials,
    Environment,
    EnvironmentVariable,
    ExtendedAttributes,
    Job,
    JobState,
    Project,
    Repository,
    Run,
)
from local_dbt_cloud.validation import Id, InputModel, ShortText, Text

DUCKDB = "duckdb_v0"
# Pydantic cannot serialize 255 levels.
MAX_DEPTH = 100
# Fields of connections and credentials that are secrets, with any prefix. Public fields have similar names:
# private_key_id, access_key_id, token_uri.
SECRET = re.compile(
    r"(passw(or)?d|secret|passphrase|token|(^|_)pat|(private|access|api|secret)_?key|key_value|keyfile_json|cert)"
    r"(_pem|_value)?$",
    re.IGNORECASE,
)
# Credentials in an address; but https://name@dev.azure.com/ contains the name of an organization.
USER_INFO = re.compile(r"^(https?://)([^/]*:[^/]*@|[^/]*@(?!dev\.azure\.com/))", re.IGNORECASE)

Kind = TypeVar("Kind", bound=AccountObject)


class Definition(InputModel):
    """The fields of an object that clients set.

    Other fields are stored and returned without effect if ``extra`` allows them.
    """

    # Fields that refer to another object, which must exist.
    references: ClassVar[dict[str, type[AccountObject]]] = {}

    @model_validator(mode="before")
    @classmethod
    def _forget_secrets(cls, data: Any) -> Any:
        # Nothing here uses them, so they are never stored.
        without_secrets = _without_secrets(data)
        return data if cls is ExtendedAttributesDefinition else without_secrets


def _without_secrets(data: Any, depth: int = 0) -> Any:
    if depth > MAX_DEPTH:
        raise ValueError(f"nested more than {MAX_DEPTH} levels deep")
    if isinstance(data, list):
        return [_without_secrets(item, depth + 1) for item in data]
    if not isinstance(data, dict):
        return data
    if _is_encrypted(data):
        data = data | {"value": ""}
    return {key: _without_secrets(value, depth + 1) for key, value in data.items() if _is_kept(key, value)}


def _is_encrypted(field: Any) -> bool:
    """Return whether a field of an adapter's credentials is secret."""
    return bool(_metadata(field).get("encrypt"))


def _metadata(field: Any) -> dict[str, Any]:
    metadata = field.get("metadata") if isinstance(field, dict) else None
    return metadata if isinstance(metadata, dict) else {}


def _is_kept(key: Any, value: Any) -> bool:
    # The metadata of a field say whether its value is secret.
    return "encrypt" in _metadata(value) or not SECRET.search(str(key))


class ProjectDefinition(Definition):
    """``ProjectRequest`` of dbt Cloud's OpenAPI file."""

    references: ClassVar = {"repository_id": Repository, "connection_id": Connection}

    name: ShortText
    description: Text = ""
    dbt_project_subdirectory: Text | None = None
    connection_id: Id | None = None
    repository_id: Id | None = None
    semantic_layer_config_id: Id | None = None
    docs_job_id: Id | None = None
    freshness_job_id: Id | None = None
    type: Literal[0, 1] = 0


class RepositoryDefinition(Definition):
    """``RepositoryV3Request`` of dbt Cloud's OpenAPI file, with the address that it omits."""

    model_config = ConfigDict(extra="allow")

    remote_url: Annotated[ShortText, AfterValidator(lambda url: USER_INFO.sub(r"\1", url))]
    git_clone_strategy: ShortText = "deploy_key"


class ConnectionDefinition(Definition):
    """``AccountConnectionCreateBodyRequest`` of dbt Cloud's OpenAPI file."""

    name: ShortText
    adapter_version: ShortText
    config: dict[str, Any] = Field(default={})
    private_link_endpoint_id: ShortText | None = None
    is_ssh_tunnel_enabled: bool = False
    oauth_configuration_id: Id | None = None

    @model_validator(mode="after")
    def _check_database(self) -> Self:
        if self.adapter_version == DUCKDB:
            TypeAdapter(DatabaseName).validate_python(self.config.get("database"))
        return self


class CredentialsDefinition(Definition):
    """``CredentialsRequest`` of dbt Cloud's OpenAPI file, which has different fields for each warehouse."""

    model_config = ConfigDict(extra="allow")

    type: ShortText


class ExtendedAttributesDefinition(Definition):
    """``ExtendedAttributes`` of dbt Cloud's OpenAPI file."""

    extended_attributes: dict[str, Any] = Field(default={})


class EnvironmentDefinition(Definition):
    """``EnvironmentV3Request`` of dbt Cloud's OpenAPI file."""

    references: ClassVar = {
        "connection_id": Connection,
        "credentials_id": Credentials,
        "extended_attributes_id": ExtendedAttributes,
    }

    name: ShortText
    connection_id: Id | None = None
    credentials_id: Id | None = None
    extended_attributes_id: Id | None = None
    primary_profile_id: Id | None = None
    # None is the installed version.
    dbt_version: ShortText | None = None
    type: Literal["development", "deployment"] = "deployment"
    deployment_type: Literal["production", "staging"] | None = None
    use_custom_branch: bool = False
    custom_branch: Text | None = None
    supports_docs: bool = True
    enable_model_query_history: bool = False
    enable_dbt_state: bool = False


def active_object(session: Session, kind: type[Kind], object_id: int | None) -> Kind | None:
    """Return an object, or None if it does not exist or is deleted."""
    stored = session.get(kind, object_id) if object_id else None
    return stored if stored and stored.state == JobState.ACTIVE else None


def active_objects(session: Session, kind: type[Kind], project_id: int | None = None) -> list[Kind]:
    """Return the objects of a kind that are not deleted, ordered by ID; optionally those of one project."""
    stored = session.scalars(select(kind).where(kind.state == JobState.ACTIVE).order_by(kind.id))
    return [one for one in stored if project_id in (None, one.definition.get("project_id"))]


def sync_declared(session: Session, config: AccountConfig) -> None:
    """Update the stored objects from account.yaml.

    Changes by clients are kept until the entry in the file changes. Objects that were removed from the file
    are deleted, with everything that belongs to them.
    """
    declared = _declarations(config)
    for kind, definitions in declared.items():
        for object_id, definition in definitions.items():
            stored = session.get(kind, object_id) or kind(id=object_id)
            if stored.declared != definition:
                stored.state, stored.definition, stored.declared = JobState.ACTIVE, definition, definition
                session.add(stored)
    for kind, definitions in declared.items():
        for stored in active_objects(session, kind):
            if stored.declared is not None and stored.id not in definitions:
                delete_object(session, stored)
                stored.declared = None
    for job in active_objects(session, Job):
        environment = active_object(session, Environment, job.definition["environment_id"])
        if environment is None:
            delete_object(session, job)
            job.declared = None
        else:
            parents = {"project_id": environment.definition["project_id"], "account_id": config.account.id}
            job.definition = job.definition | parents


def _declarations(config: AccountConfig) -> dict[type[AccountObject], dict[int, dict[str, Any]]]:
    """Return the definitions of everything that the file declares, by kind and ID.

    A project has a repository of the same ID, an environment has credentials of the same ID, and a database
    has a connection with the ID of the first environment that uses it.
    """
    declared: dict[type[AccountObject], dict[int, dict[str, Any]]] = {
        kind: {} for kind in (Project, Repository, Connection, Credentials, Environment, Job)
    }

    def declare(kind: type[AccountObject], object_id: int, definition: Definition, **more: int) -> None:
        declared[kind][object_id] = definition.model_dump(mode="json") | more

    for project in config.projects:
        definition = ProjectDefinition(
            name=project.name, dbt_project_subdirectory=project.dbt_project_subdirectory or None,
            repository_id=project.id,
        )  # fmt: skip
        declare(Project, project.id, definition)
        repository = RepositoryDefinition(remote_url=project.repository_url)
        declare(Repository, project.id, repository, project_id=project.id)
    connections: dict[str, int] = {}
    for environment in config.environments:
        database, parent = environment.database, {"project_id": environment.project_id}
        connection_id = connections.setdefault(database, environment.id)
        connection = ConnectionDefinition(
            name="DuckDB", adapter_version=DUCKDB, config={"database": database}
        )
        declare(Connection, connection_id, connection)
        credentials = CredentialsDefinition(
            type="adapter", adapter_version=DUCKDB, schema=environment.default_schema, threads=4,
            target_name="default",
        )  # type: ignore[call-arg] # extra fields are allowed # fmt: skip
        declare(Credentials, environment.id, credentials, **parent)
        fields = EnvironmentDefinition(
            name=environment.name, deployment_type="production", connection_id=connection_id,
            credentials_id=environment.id,
        )  # fmt: skip
        declare(Environment, environment.id, fields, **parent)
    for job in config.jobs:
        declared[Job][job.id] = job.model_dump(mode="json", exclude={"id", "simulation"})
    return declared


def delete_object(session: Session, stored: AccountObject) -> list[int]:
    """Delete an object and everything that belongs to it; return the IDs of the deleted jobs."""
    stored.state = JobState.DELETED
    jobs = [stored.id] if isinstance(stored, Job) else []
    if isinstance(stored, Project):
        for kind in (Environment, Repository, Credentials, ExtendedAttributes):
            for child in active_objects(session, kind, stored.id):
                jobs += delete_object(session, child)
        session.execute(delete(EnvironmentVariable).where(EnvironmentVariable.project_id == stored.id))
    elif isinstance(stored, Environment):
        session.execute(delete(EnvironmentVariable).where(EnvironmentVariable.environment_id == stored.id))
        for job in active_objects(session, Job, stored.definition["project_id"]):
            if job.definition["environment_id"] == stored.id:
                jobs += delete_object(session, job)
    return jobs


class Target(NamedTuple):
    """What a run needs of its project and environment.

    :param repository_url: Address of the repository; None if the project has none.
    :param directory: Directory of the repository; None if account.yaml declares none for its address.
    :param subdirectory: Directory of the dbt project in it.
    :param database: Name of the DuckDB file in the data directory.
    :param schema: Default schema.
    """

    repository_url: str | None
    directory: Path | None
    subdirectory: str
    database: str
    schema: str


def run_target(session: Session, config: AccountConfig, run: Run) -> Target:
    """Return what a run needs, from the current definitions of its project and environment."""
    project = session.get_one(Project, run.project_id).definition
    environment = session.get_one(Environment, run.environment_id).definition
    repository = active_object(session, Repository, project["repository_id"])
    connection = active_object(session, Connection, environment["connection_id"])
    credentials = active_object(session, Credentials, environment["credentials_id"])
    url = repository.definition["remote_url"] if repository else None
    # The declaration of the run's project is last, so that it wins if others have the same address.
    projects = sorted(config.projects, key=lambda declared: declared.id == run.project_id)
    directories = {_normalized(declared.repository_url): declared.directory for declared in projects}
    # Whatever its connection, an environment uses a DuckDB file.
    database = f"environment_{run.environment_id}.duckdb"
    if connection and connection.definition["adapter_version"] == DUCKDB:
        database = connection.definition["config"]["database"]
    return Target(
        url,
        directories.get(_normalized(url)) if url else None,
        project["dbt_project_subdirectory"] or "",
        database,
        default_schema(credentials.definition) if credentials else "main",
    )


def _normalized(url: str) -> str:
    """Return an address without scheme, user and suffix, because one may use SSH and the other HTTPS."""
    path = re.sub(r"^(\w+://)?([^@/]*@)?", "", url).removesuffix("/").removesuffix(".git")
    return path if url.startswith("file:") else path.replace(":", "/", 1).lower()


def default_schema(credentials: dict[str, Any]) -> str:
    """Return the schema in a definition of credentials, whose field depends on the warehouse."""
    details = unencrypted_details(credentials)
    fields = (credentials.get("default_schema"), credentials.get("schema"), details.get("schema"))
    return next((str(schema) for schema in fields if schema), "main")


def unencrypted_details(credentials: dict[str, Any]) -> dict[str, Any]:
    """Return the values of an adapter's credentials that are not secret, by the name of the field."""
    details = credentials.get("credential_details")
    fields = details.get("fields") if isinstance(details, dict) else None
    return {
        name: field.get("value")
        for name, field in (fields.items() if isinstance(fields, dict) else ())
        if isinstance(field, dict) and not _is_encrypted(field)
    }

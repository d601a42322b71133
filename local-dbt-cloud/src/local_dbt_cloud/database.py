"""The SQLite database with the account's objects, runs and steps."""

from datetime import UTC, datetime, timedelta
from enum import IntEnum
from pathlib import Path
from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, Dialect, ForeignKey, Index, create_engine, engine, event, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, sessionmaker
from sqlalchemy.types import TypeDecorator

from local_dbt_cloud.data_directory import DataDirectory
from local_dbt_cloud.errors import UserError
from local_dbt_cloud.run_status import RunStatus

SCHEMA_VERSION = 3
# IDs of objects that clients create are above it: entries added to account.yaml later get other IDs.
LAST_RESERVED_ID = 100_000

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class JobState(IntEnum):
    """``state`` of a job or of another object in dbt Cloud's API."""

    ACTIVE = 1
    DELETED = 2


def utc_now() -> datetime:
    """Return the current time as an aware datetime."""
    return datetime.now(UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime, stored in microseconds: SQLite has no such type, and compares integers fastest."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return (value - EPOCH) // MICROSECOND if value else None

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else EPOCH + value * MICROSECOND


class Base(DeclarativeBase):
    """Base class of the tables."""

    type_annotation_map: ClassVar = {datetime: UtcDateTime, dict[str, Any]: JSON, list[Any]: JSON}


class AccountObject(Base):
    """An object that account.yaml declares or that a client created.

    ``definition`` holds its fields as the API returns them; ``declared`` is the definition that account.yaml
    had when the object was last updated from it, None for an object that a client created.
    """

    __abstract__ = True
    # Never reuse an ID.
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[int] = mapped_column(default=JobState.ACTIVE)
    definition: Mapped[dict[str, Any]]
    declared: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now, onupdate=utc_now)


class Project(AccountObject):
    """A dbt project."""

    __tablename__ = "projects"


class Repository(AccountObject):
    """The git repository of a project."""

    __tablename__ = "repositories"


class Connection(AccountObject):
    """The connection of environments to a warehouse."""

    __tablename__ = "connections"


class Credentials(AccountObject):
    """The schema of an environment; secrets are never stored."""

    __tablename__ = "credentials"


class ExtendedAttributes(AccountObject):
    """Additional attributes of the profile of an environment."""

    __tablename__ = "extended_attributes"


class Environment(AccountObject):
    """An environment of a project, in which jobs run."""

    __tablename__ = "environments"


class Job(AccountObject):
    """A job; its definition is a ``JobDefinition``."""

    __tablename__ = "jobs"


class EnvironmentVariable(Base):
    """The value of an environment variable for a project, an environment or a job."""

    __tablename__ = "environment_variables"
    # Never reuse an ID.
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int]
    environment_id: Mapped[int | None]
    job_definition_id: Mapped[int | None]
    name: Mapped[str]
    type: Mapped[str]
    raw_value: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now, onupdate=utc_now)


FILTER_COLUMNS = (
    "status", "job_definition_id", "project_id", "environment_id", "has_docs_generated",
    "has_sources_generated", "dbt_version",
)  # fmt: skip


class Run(Base):
    """A run of a job.

    ``trigger`` is the body of the request that triggered it, a ``TriggerRequest``; ``dbt_steps`` is a list of
    ``DbtStep``, set when the run starts.
    """

    __tablename__ = "runs"
    __table_args__ = (
        Index("runs_by_job", "job_definition_id", "id"),
        Index("runs_by_job_and_status", "job_definition_id", "status", "id"),
        Index("runs_by_status", "status", "id"),
        # Covering indexes: counting runs and finding a page of a list reads no rows.
        Index("runs_filtered", *FILTER_COLUMNS, "created_at", "finished_at"),
        Index("runs_by_creation", "created_at", "id", *FILTER_COLUMNS, "finished_at"),
        Index("runs_by_end", "finished_at", "id", *FILTER_COLUMNS, "created_at"),
        # Never reuse an ID.
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    job_definition_id: Mapped[int]
    project_id: Mapped[int]
    environment_id: Mapped[int]
    status: Mapped[int] = mapped_column(default=RunStatus.QUEUED)
    status_message: Mapped[str | None]
    trigger: Mapped[dict[str, Any]]
    cause_category: Mapped[str] = mapped_column(default="api")
    retrying_run_id: Mapped[int | None]
    dbt_steps: Mapped[list[Any]] = mapped_column(default=list)
    dbt_version: Mapped[str]
    # Commit of the project, if it is a git checkout.
    git_sha: Mapped[str | None]
    has_docs_generated: Mapped[bool] = mapped_column(default=False)
    has_sources_generated: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now, onupdate=utc_now)
    dequeued_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    run_steps: Mapped[list["RunStep"]] = relationship(order_by="RunStep.index")


class RunStep(Base):
    """A step of a run; its log and artifacts are files of the ``DataDirectory``."""

    __tablename__ = "run_steps"
    __table_args__ = (Index("run_steps_by_run", "run_id", "index"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"))
    index: Mapped[int]
    name: Mapped[str]
    status: Mapped[int] = mapped_column(default=RunStatus.RUNNING)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now, onupdate=utc_now)
    started_at: Mapped[datetime | None] = mapped_column(default=utc_now)
    finished_at: Mapped[datetime | None]


def open_database(data: DataDirectory) -> sessionmaker[Session]:
    """Open the state file, creating it if it is missing, and return a factory of sessions.

    :raises UserError: The file is damaged or has another schema version, or it is missing although artifacts
        of its runs exist.
    :raises DatabaseError: The file is not SQLite, or it cannot be read or written.
    """
    path = data.state_file
    if not path.exists() and data.runs.exists():
        raise UserError(
            f"The state file {path} is missing, but {data.runs} contains artifacts of its runs. Restore the "
            "file from a backup, or move that directory away to start with an empty history."
        )
    # Values of environment variables may be secrets.
    path.touch(mode=0o600)
    # The timeout is short because all requests wait while SQLite waits for a lock.
    database = create_engine(f"sqlite:///{path}", hide_parameters=True, connect_args={"timeout": 0.5})

    @event.listens_for(database, "connect")
    def _configure(connection: Any, _: Any) -> None:
        # With a write-ahead log, readers and the writer do not block each other.
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA foreign_keys=ON")

    try:
        with database.begin() as connection:
            _prepare_schema(connection, path)
    except BaseException:
        database.dispose()
        raise
    return sessionmaker(database, expire_on_commit=False)


def _prepare_schema(connection: engine.Connection, path: Path) -> None:
    version = connection.scalar(text("PRAGMA user_version"))
    if version == 0:
        Base.metadata.create_all(connection)
        restart_ids(connection)
        connection.execute(text(f"PRAGMA user_version={SCHEMA_VERSION}"))
    elif version != SCHEMA_VERSION:
        raise UserError(
            f"The state file {path} has schema version {version}, but this release needs {SCHEMA_VERSION}. "
            "Move its directory away to start with an empty history."
        )
    damage = connection.scalar(text("PRAGMA quick_check(1)"))
    if damage != "ok":
        raise UserError(database_error_message(path, str(damage)))


def restart_ids(connection: engine.Connection) -> None:
    """Assign new IDs from 1, or above the reserved ones for the account's objects."""
    connection.execute(text("DELETE FROM sqlite_sequence"))
    last = [{"name": kind.__tablename__, "id": LAST_RESERVED_ID} for kind in AccountObject.__subclasses__()]
    connection.execute(text("INSERT INTO sqlite_sequence VALUES (:name, :id)"), last)


def database_error_message(path: Path, reason: str) -> str:
    """Return a message for the user about a state file that cannot be read or written.

    :param reason: SQLite's error message.
    """
    if "full" in reason or "I/O" in reason:
        remedy = "Free some disk space and try again."
    elif "locked" in reason:
        remedy = "Another program has locked it. Close that program and try again."
    else:
        remedy = (
            "Stop the local dbt Cloud and restore the file from a backup, or move its directory away to "
            "start with an empty history."
        )
    return f"Cannot use the state file {path} ({reason}). {remedy}"

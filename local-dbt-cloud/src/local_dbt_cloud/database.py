"""What the local dbt Cloud remembers, in one SQLite file: jobs, runs, their steps, environment variables."""

from datetime import UTC, datetime, timedelta
from enum import IntEnum
from pathlib import Path
from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, Dialect, ForeignKey, Index, create_engine, event, text
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, sessionmaker
from sqlalchemy.types import TypeDecorator

from local_dbt_cloud.data_directory import DataDirectory
from local_dbt_cloud.errors import UserError

SCHEMA_VERSION = 2


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class RunStatus(IntEnum):
    """A run's or a step's status, as dbt Cloud numbers it."""

    QUEUED = 1
    STARTING = 2
    RUNNING = 3
    SUCCESS = 10
    ERROR = 20
    CANCELLED = 30


ACTIVE = (RunStatus.QUEUED, RunStatus.STARTING, RunStatus.RUNNING)


def humanized(status: int) -> str:
    """Write a status as dbt Cloud does: Queued, Running, Success."""
    return RunStatus(status).name.capitalize() if status in set(RunStatus) else "Unknown"


def now() -> datetime:
    """Return this moment, with its time zone."""
    return datetime.now(UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment, stored as microseconds: SQLite has no type for it, and compares numbers faster than texts."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return (value - EPOCH) // MICROSECOND if value else None

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else EPOCH + value * MICROSECOND


class Base(DeclarativeBase):
    """The tables."""

    type_annotation_map: ClassVar = {datetime: UtcDateTime, dict[str, Any]: JSON, list[Any]: JSON}


class Job(Base):
    """A job: ``definition`` is a JobDefinition, ``declared`` the one of account.yaml that it was last set to.

    ``state`` is 1 for an active job and 2 for a deleted one, as in dbt Cloud's API.
    """

    __tablename__ = "jobs"
    # An id is never used twice.
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[int] = mapped_column(default=1)
    definition: Mapped[dict[str, Any]]
    declared: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)


class EnvironmentVariable(Base):
    """A value that an environment variable of dbt has in a project, an environment or a job."""

    __tablename__ = "environment_variables"

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int]
    environment_id: Mapped[int | None]
    job_definition_id: Mapped[int | None]
    name: Mapped[str]
    type: Mapped[str]
    raw_value: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)


FILTERED = ("status", "job_definition_id", "project_id", "environment_id", "has_docs_generated",
            "has_sources_generated", "dbt_version")  # fmt: skip


class Run(Base):
    """One run of a job.

    ``trigger`` holds the body of the request that started it, ``dbt_steps`` what it calls dbt for.
    """

    __tablename__ = "runs"
    __table_args__ = (
        Index("runs_by_job", "job_definition_id", "id"),
        Index("runs_by_job_and_status", "job_definition_id", "status", "id"),
        Index("runs_by_status", "status", "id"),
        # These hold all that a list filters by: to count and to find a page, no run itself is read.
        Index("runs_filtered", *FILTERED, "created_at", "finished_at"),
        Index("runs_by_creation", "created_at", "id", *FILTERED, "finished_at"),
        Index("runs_by_end", "finished_at", "id", *FILTERED, "created_at"),
        # An id is never used twice, also when the newest runs were deleted by hand.
        {"sqlite_autoincrement": True},
    )  # fmt: skip

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
    has_docs_generated: Mapped[bool] = mapped_column(default=False)
    has_sources_generated: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)
    dequeued_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    run_steps: Mapped[list["RunStep"]] = relationship(order_by="RunStep.index")


class RunStep(Base):
    """One step of a run; its log and artifacts are files, see ``files.py``."""

    __tablename__ = "run_steps"
    __table_args__ = (Index("run_steps_by_run", "run_id", "index"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"))
    index: Mapped[int]
    name: Mapped[str]
    status: Mapped[int] = mapped_column(default=RunStatus.RUNNING)
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)
    started_at: Mapped[datetime | None] = mapped_column(default=now)
    finished_at: Mapped[datetime | None]


def open_store(data: DataDirectory) -> sessionmaker[Session]:
    """Open the state file, made if there is none; answers what opens sessions on it.

    :raises UserError: the file is not a state file, is damaged or is of another version, or it is missing
        while the artifacts of its runs are there.
    """
    path = data.state
    if not path.exists() and data.runs.exists():
        raise UserError(
            f"The state file {path} is missing, but {data.runs} holds the artifacts of its runs: put a copy "
            "of the file back, or move that folder away to begin with an empty history."
        )
    # It may hold secrets: the values of environment variables.
    path.touch(mode=0o600)
    # Everything waits while SQLite waits for another program, so not for long.
    engine = create_engine(f"sqlite:///{path}", hide_parameters=True, connect_args={"timeout": 0.5})

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _: Any) -> None:
        # A write-ahead log keeps readers and the serializer out of each other's way, and survives a kill.
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA foreign_keys=ON")

    try:
        with engine.begin() as connection:
            version = connection.scalar(text("PRAGMA user_version"))
            if version == 0:
                Base.metadata.create_all(connection)
                connection.execute(text(f"PRAGMA user_version={SCHEMA_VERSION}"))
            elif version != SCHEMA_VERSION:
                raise UserError(
                    f"The state file {path} is of version {version}, this program's is {SCHEMA_VERSION}: "
                    "move its folder away to begin with an empty history."
                )
            damage = connection.scalar(text("PRAGMA quick_check(1)"))
            if damage != "ok":
                raise UserError(unusable(path, damage))
    except (DatabaseError, UserError) as error:
        engine.dispose()
        if isinstance(error, UserError):
            raise
        raise UserError(unusable(path, str(error.orig))) from error
    return sessionmaker(engine, expire_on_commit=False)


def unusable(path: Path, reason: str) -> str:
    """Return the sentence for a state file that cannot be read or written."""
    remedy = (
        "free some space, then try again"
        if "full" in reason or "I/O" in reason
        else "another program holds it: close that, then try again"
        if "locked" in reason
        else "stop the local dbt Cloud and put a copy of the file back, or move its folder away to begin "
        "with an empty history"
    )
    return f"The state file {path} cannot be used ({reason}): {remedy}."

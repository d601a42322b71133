"""Serialize stored and declared objects as dbt Cloud's API returns them."""

from collections.abc import Callable, Set
from datetime import datetime, timedelta
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import yaml
from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from local_dbt_cloud.data_directory import read_text
from local_dbt_cloud.database import (
    AccountObject,
    Connection,
    Credentials,
    Environment,
    EnvironmentVariable,
    Job,
    JobState,
    Project,
    Repository,
    Run,
    RunStep,
    utc_now,
)
from local_dbt_cloud.dbt_process import dbt_version
from local_dbt_cloud.durations import format_clock, format_words
from local_dbt_cloud.environment_variables import display_value
from local_dbt_cloud.provisioning import active_object, active_objects, unencrypted_details
from local_dbt_cloud.run_plan import active_run_ids, blocked_by, newest_run_id, retry_not_supported_reason
from local_dbt_cloud.run_status import ACTIVE_STATUSES, RunStatus, humanize_status
from local_dbt_cloud.schedule import describe_cron, next_run
from local_dbt_cloud.service import Service

STATIC_FIELDS: dict[str, dict[str, Any]] = yaml.safe_load(
    Path(__file__).with_name("static_fields.yaml").read_text(encoding="utf-8")
)
STATUS_COLORS = {
    RunStatus.QUEUED: "#9ca3af",
    RunStatus.STARTING: "#9ca3af",
    RunStatus.RUNNING: "#2563eb",
    RunStatus.SUCCESS: "#16a34a",
    RunStatus.ERROR: "#dc2626",
    RunStatus.CANCELLED: "#6b7280",
}
# openapi-v2.yaml, include_related of runs: number of lines unless debug_logs is requested.
TRUNCATED_DEBUG_LOG_LINES = 1000


def format_timestamp(value: datetime | None) -> str | None:
    """Format a time of a run, trigger or step, such as ``2024-07-03 13:59:00.653171+00:00``."""
    return value.isoformat(sep=" ", timespec="microseconds") if value else None


class Serializer:
    """Serialize objects for one request.

    :param related: Names of related objects to include, and ``debug_logs``.
    """

    def __init__(self, service: Service, session: Session, related: Set[str] = frozenset()) -> None:
        self.service = service
        self.session = session
        self.related = related
        # Cached, because a list has many runs of few jobs.
        self._job_of_run = cache(self._serialize_job_of_run)
        self._one = cache(self._serialize_one)
        self._newest_run_id = cache(partial(newest_run_id, session))
        self._active_run_ids = cache(partial(active_run_ids, session))

    def run(self, run: Run) -> dict[str, Any]:
        """Serialize a run."""
        reason = self.retry_not_supported_reason(run)
        return STATIC_FIELDS["run"] | {
            "id": run.id,
            "trigger_id": run.id,
            "account_id": self.service.config.account.id,
            "environment_id": run.environment_id,
            "project_id": run.project_id,
            "job_definition_id": run.job_definition_id,
            "job_id": run.job_definition_id,
            **status_fields(run.status),
            "status_message": run.status_message,
            "blocked_by": blocked_by(run, self._active_run_ids),
            "dbt_version": run.dbt_version,
            "git_branch": run.trigger.get("git_branch"),
            "git_sha": run.trigger.get("git_sha") or run.git_sha,
            "artifacts_saved": run.finished_at is not None and bool(run.started_at and run.dbt_steps),
            "has_docs_generated": run.has_docs_generated,
            "has_sources_generated": run.has_sources_generated,
            **_run_timestamps(run),
            **_run_durations(run),
            **self._related_to_run(run),
            "retrying_run_id": run.retrying_run_id,
            "can_retry": reason is None,
            "retry_not_supported_reason": reason,
            "href": self.service.href(run),
        }

    def retry_not_supported_reason(self, run: Run) -> str | None:
        """Return why a run cannot be retried, or None if it can."""
        newest_id = self._newest_run_id(run.job_definition_id)
        return retry_not_supported_reason(self.session, self.service.data, run, newest_id)

    def _related_to_run(self, run: Run) -> dict[str, Any]:
        return {"trigger": None, "job": None, "environment": None, "run_steps": []} | self._related({
            "trigger": lambda: self.trigger(run),
            "job": lambda: self._job_of_run(run.job_definition_id),
            "environment": lambda: self._one(Environment, run.environment_id, "v2"),
            "run_steps": lambda: [self.step(step) for step in run.run_steps],
        })  # fmt: skip

    def trigger(self, run: Run) -> dict[str, Any]:
        """Serialize the trigger of a run."""
        return run.trigger | {
            "id": run.id,
            "job_definition_id": run.job_definition_id,
            "created_at": format_timestamp(run.created_at),
            "cause_humanized": run.trigger["cause"],
            "cause_category": run.cause_category,
            "job": None,
        }

    def _serialize_job_of_run(self, job_id: int) -> dict[str, Any] | None:
        job = self.session.get(Job, job_id)
        if job is None:
            return None
        serialized = self._plain.job(job)
        # InternalJobDefinition of dbt Cloud's OpenAPI file has a shorter schedule.
        schedule = serialized["schedule"]
        short = {"cron": schedule["cron"], "date": schedule["date"]["type"], "time": schedule["time"]["type"]}
        return serialized | {"schedule": short}

    def step(self, step: RunStep) -> dict[str, Any]:
        """Serialize a step with its log; the debug log is truncated unless ``debug_logs`` is requested."""
        data = self.service.data
        debug_log = data.step_debug_log(step.run_id, step.index)
        duration = (step.finished_at or utc_now()) - step.started_at if step.started_at else timedelta()
        # Such as: Invoke dbt with `dbt build`.
        _, _, command = step.name.partition("`")
        return STATIC_FIELDS["step"] | {
            "id": step.id,
            "run_id": step.run_id,
            "account_id": self.service.config.account.id,
            "index": step.index,
            "status": step.status,
            "status_humanized": humanize_status(step.status),
            "status_color": STATUS_COLORS[RunStatus(step.status)],
            "name": step.name,
            "logs": read_text(data.step_log(step.run_id, step.index)),
            "debug_logs": read_text(debug_log) if "debug_logs" in self.related else "",
            "truncated_debug_logs": read_text(debug_log, last_lines=TRUNCATED_DEBUG_LOG_LINES),
            "created_at": format_timestamp(step.created_at),
            "updated_at": format_timestamp(step.updated_at),
            "started_at": format_timestamp(step.started_at),
            "finished_at": format_timestamp(step.finished_at),
            "duration": format_clock(duration),
            "duration_humanized": format_words(duration),
            "run_step_command": (
                {"run_step_id": step.id, "dbt_command": command.rstrip("`")} if command else None
            ),
            "run_step_invocation": {"run_step_id": step.id, "run_id": step.run_id},
        }

    def job(self, job: Job) -> dict[str, Any]:
        """Serialize a job."""
        cron, runs_on_schedule = job.definition["schedule"]["cron"], job.definition["triggers"]["schedule"]
        now = utc_now()
        upcoming = next_run(cron, now) if runs_on_schedule and job.state == JobState.ACTIVE else None
        serialized = STATIC_FIELDS["job"] | job.definition | {
            "id": job.id,
            "cron_humanized": describe_cron(cron),
            "next_run": upcoming and upcoming.isoformat(),
            "next_run_humanized": upcoming and format_words(upcoming - now),
            "state": job.state,
            "created_at": job.created_at.isoformat(),
            "updated_at": job.updated_at.isoformat(),
        }  # fmt: skip
        runs = select(Run).where(Run.job_definition_id == job.id).order_by(Run.id.desc()).limit(1)

        def newest(*conditions: ColumnElement[bool]) -> dict[str, Any] | None:
            run = self.session.scalar(runs.where(*conditions))
            return self._plain.run(run) if run else None

        return serialized | self._related({
            "account": self.account,
            "project": lambda: self._one(Project, job.definition["project_id"]),
            "environment": lambda: self._one(Environment, job.definition["environment_id"], "v2"),
            "custom_environment_variables": lambda: self._variables(job_definition_id=job.id),
            "most_recent_run": newest,
            "most_recent_completed_run": lambda: newest(Run.status.not_in(ACTIVE_STATUSES)),
        })  # fmt: skip

    def account_object(self, stored: AccountObject, api: str) -> dict[str, Any]:
        """Serialize an object that clients can provision.

        :param api: Version of the API, v2 or v3: their fields differ.
        """
        match stored:
            case Project():
                return self.project(stored)
            case Environment():
                return self.environment(stored, api)
            case Connection():
                return self.connection(stored)
            case Credentials():
                return self.credentials(stored)
            case Repository():
                return self.repository(stored)
        return self._fields(stored)

    def _fields(self, stored: AccountObject) -> dict[str, Any]:
        return stored.definition | {
            "id": stored.id,
            "account_id": self.service.config.account.id,
            "state": stored.state,
            "created_at": stored.created_at.isoformat(),
            "updated_at": stored.updated_at.isoformat(),
        }

    def environment(self, environment: Environment, api: str = "v2") -> dict[str, Any]:
        """Serialize an environment.

        :param api: Version of the API, v2 or v3: their fields differ.
        """
        definition = environment.definition
        version = definition["dbt_version"] or dbt_version()
        serialized = STATIC_FIELDS[f"environment_{api}"] | self._fields(environment) | {
            "dbt_version": version,
            "raw_dbt_version": version,
        }  # fmt: skip
        project = self.session.get_one(Project, definition["project_id"])
        if api == "v2":
            serialized["repository_id"] = project.definition["repository_id"]
            serialized["dbt_project_subdirectory"] = project.definition["dbt_project_subdirectory"]
        return serialized | self._related({
            "project": lambda: self._plain.project(project),
            "repository": lambda: self._one(Repository, project.definition["repository_id"]),
            "connection": lambda: self._connection_of(project.id, definition),
            "credentials": lambda: self._one(Credentials, definition["credentials_id"]),
            "custom_environment_variables": lambda: self._variables(environment_id=environment.id),
        })  # fmt: skip

    def project(self, project: Project) -> dict[str, Any]:
        """Serialize a project."""
        definition = project.definition
        return STATIC_FIELDS["project"] | self._fields(project) | self._related({
            "repository": lambda: self._one(Repository, definition["repository_id"]),
            "connection": lambda: self._connection_of(project.id, definition),
            "environments": lambda: [
                self._plain.environment(one, "v3")
                for one in active_objects(self.session, Environment, project.id)
            ],
            "docs_job": lambda: self._one(Job, definition["docs_job_id"]),
            "freshness_job": lambda: self._one(Job, definition["freshness_job_id"]),
            "group_permissions": list,
        })  # fmt: skip

    def connection(self, connection: Connection) -> dict[str, Any]:
        """Serialize a connection of the account."""
        environments = active_objects(self.session, Environment)
        users = [one for one in environments if one.definition["connection_id"] == connection.id]
        return STATIC_FIELDS["connection"] | self._fields(connection) | {"environment__count": len(users)}

    def project_connection(self, connection: Connection, project_id: int) -> dict[str, Any]:
        """Serialize a connection as an object of a project, as the API did before connections were global."""
        serialized = STATIC_FIELDS["project_connection"] | self.connection(connection)
        return serialized | {"project_id": project_id, "details": serialized.pop("config")}

    def credentials(self, credentials: Credentials) -> dict[str, Any]:
        """Serialize credentials, which have no secrets."""
        return STATIC_FIELDS["credentials"] | self._fields(credentials) | {
            "unencrypted_credential_details": unencrypted_details(credentials.definition),
        }  # fmt: skip

    def repository(self, repository: Repository) -> dict[str, Any]:
        """Serialize a repository."""
        name = repository.definition["remote_url"].removesuffix(".git").rstrip("/").rpartition("/")[2]
        return STATIC_FIELDS["repository"] | {"name": name} | self._fields(repository)

    @cached_property
    def _plain(self) -> "Serializer":
        """A serializer of related objects, which do not include further ones."""
        return Serializer(self.service, self.session)

    def _related(self, available: dict[str, Callable[[], Any]]) -> dict[str, Any]:
        """Return the related objects that the request includes, by name."""
        return {name: value() for name, value in available.items() if name in self.related}

    def _serialize_one(
        self, kind: type[AccountObject], object_id: int | None, api: str = "v3"
    ) -> dict[str, Any] | None:
        stored = active_object(self.session, kind, object_id)
        if stored is None:
            return None
        return self._plain.job(stored) if isinstance(stored, Job) else self._plain.account_object(stored, api)

    def _connection_of(self, project_id: int, definition: dict[str, Any]) -> dict[str, Any] | None:
        connection = active_object(self.session, Connection, definition["connection_id"])
        return self.project_connection(connection, project_id) if connection else None

    def _variables(self, **scope: int) -> list[dict[str, Any]]:
        variables = select(EnvironmentVariable).filter_by(**scope)
        return [self.variable(variable) for variable in self.session.scalars(variables)]

    def account(self) -> dict[str, Any]:
        """Serialize the account."""
        account, modified_at = self.service.config.account, self.service.config_modified_at.isoformat()
        return STATIC_FIELDS["account"] | {
            "created_at": modified_at,
            "updated_at": modified_at,
            "id": account.id,
            "name": account.name,
            "run_slots": account.run_slots,
            "identifier": f"act_local_{account.id}",
        }  # fmt: skip

    def variable(self, variable: EnvironmentVariable) -> dict[str, Any]:
        """Serialize the value of an environment variable."""
        return {
            "id": variable.id,
            "account_id": self.service.config.account.id,
            "project_id": variable.project_id,
            "environment_id": variable.environment_id,
            "job_definition_id": variable.job_definition_id,
            "user_id": None,
            "name": variable.name,
            "type": variable.type,
            "display_value": display_value(variable),
            "state": JobState.ACTIVE,
            "environment": None,
            "created_at": variable.created_at.isoformat(),
            "updated_at": variable.updated_at.isoformat(),
        }


def status_fields(status: int) -> dict[str, Any]:
    """Return all fields of a run that derive from its status."""
    return {
        "status": status,
        "status_humanized": humanize_status(status),
        "in_progress": status in ACTIVE_STATUSES,
        "is_complete": status not in ACTIVE_STATUSES,
        "is_success": status == RunStatus.SUCCESS,
        "is_error": status == RunStatus.ERROR,
        "is_cancelled": status == RunStatus.CANCELLED,
    }


def _run_timestamps(run: Run) -> dict[str, str | None]:
    return {
        "created_at": format_timestamp(run.created_at),
        "updated_at": format_timestamp(run.updated_at),
        "dequeued_at": format_timestamp(run.dequeued_at),
        "started_at": format_timestamp(run.started_at),
        "finished_at": format_timestamp(run.finished_at),
        "last_checked_at": format_timestamp(run.updated_at),
        "last_heartbeat_at": format_timestamp(run.updated_at),
    }


def _run_durations(run: Run) -> dict[str, str]:
    now = utc_now()
    end = run.finished_at or now
    total = end - run.created_at
    queued = (run.dequeued_at or end) - run.created_at
    running = end - run.started_at if run.started_at else timedelta()
    return {
        "duration": format_clock(total),
        "queued_duration": format_clock(queued),
        "run_duration": format_clock(running),
        "duration_humanized": format_words(total),
        "queued_duration_humanized": format_words(queued),
        "run_duration_humanized": format_words(running),
        "created_at_humanized": f"{format_words(now - run.created_at)} ago",
        "finished_at_humanized": f"{format_words(now - end)} ago",
    }

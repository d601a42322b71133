"""Serialize stored and declared objects as dbt Cloud's API returns them."""

from collections.abc import Set
from datetime import datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any

import yaml
from sqlalchemy import select
from sqlalchemy.orm import Session

from local_dbt_cloud.account import Environment, Project
from local_dbt_cloud.data_directory import read_text
from local_dbt_cloud.database import EnvironmentVariable, Job, JobState, Run, RunStep, utc_now
from local_dbt_cloud.dbt_process import dbt_version
from local_dbt_cloud.durations import format_clock, format_words
from local_dbt_cloud.environment_variables import display_value
from local_dbt_cloud.run_plan import active_run_ids, blocked_by, newest_run_id, retry_not_supported_reason
from local_dbt_cloud.run_status import ACTIVE_STATUSES, RunStatus, humanize_status
from local_dbt_cloud.schedule import describe_cron, next_run
from local_dbt_cloud.service import Service

STATIC_FIELDS: dict[str, dict[str, Any]] = yaml.safe_load(
    Path(__file__).with_name("static_fields.yaml").read_text(encoding="utf-8")
)
RELATED_TO_JOB = {
    "account", "project", "environment", "custom_environment_variables", "most_recent_run",
    "most_recent_completed_run",
}  # fmt: skip
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

    :param related: Related objects to include: of runs ``trigger``, ``job``, ``environment``, ``run_steps``
        and ``debug_logs``; of jobs ``account``, ``project``, ``environment``,
        ``custom_environment_variables``, ``most_recent_run`` and ``most_recent_completed_run``.
    """

    def __init__(self, service: Service, session: Session, related: Set[str] = frozenset()) -> None:
        self.service = service
        self.session = session
        self.related = related
        # Cached, because a list has many runs of few jobs.
        self._job_of_run = cache(self._serialize_job_of_run)
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
            "git_sha": run.trigger.get("git_sha"),
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
        environment = self.service.config.environment(run.environment_id)
        return {
            "trigger": self.trigger(run) if "trigger" in self.related else None,
            "job": self._job_of_run(run.job_definition_id) if "job" in self.related else None,
            "environment": (
                self.environment(environment) if environment and "environment" in self.related else None
            ),
            "run_steps": [self.step(step) for step in run.run_steps] if "run_steps" in self.related else [],
        }

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
        serialized = Serializer(self.service, self.session).job(job)
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
        for name in self.related & RELATED_TO_JOB:
            serialized[name] = self._related_to_job(name, job)
        return serialized

    def _related_to_job(self, name: str, job: Job) -> Any:
        config = self.service.config
        runs = select(Run).where(Run.job_definition_id == job.id).order_by(Run.id.desc()).limit(1)
        match name:
            case "account":
                return self.account()
            case "project":
                project = config.project(job.definition["project_id"])
                return self.project(project) if project else None
            case "environment":
                environment = config.environment(job.definition["environment_id"])
                return self.environment(environment) if environment else None
            case "custom_environment_variables":
                variables = select(EnvironmentVariable).where(EnvironmentVariable.job_definition_id == job.id)
                return [self.variable(variable) for variable in self.session.scalars(variables)]
            case "most_recent_completed_run":
                runs = runs.where(Run.status.not_in(ACTIVE_STATUSES))
        run = self.session.scalar(runs)
        return Serializer(self.service, self.session).run(run) if run else None

    def environment(self, environment: Environment, api: str = "v2") -> dict[str, Any]:
        """Serialize an environment.

        :param api: Version of the API, v2 or v3: their fields differ.
        """
        static_fields = STATIC_FIELDS["environment"] | STATIC_FIELDS[f"environment_{api}"]
        return static_fields | self._config_timestamps() | {
            "id": environment.id,
            "account_id": self.service.config.account.id,
            "project_id": environment.project_id,
            "name": environment.name,
            "dbt_version": dbt_version(),
            "raw_dbt_version": dbt_version(),
        }  # fmt: skip

    def project(self, project: Project) -> dict[str, Any]:
        """Serialize a project."""
        account_id = self.service.config.account.id
        return STATIC_FIELDS["project"] | self._config_timestamps() | {
            "id": project.id,
            "account_id": account_id,
            "name": project.name,
        }  # fmt: skip

    def account(self) -> dict[str, Any]:
        """Serialize the account."""
        account = self.service.config.account
        return STATIC_FIELDS["account"] | self._config_timestamps() | {
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

    def _config_timestamps(self) -> dict[str, str]:
        modified_at = self.service.config_modified_at.isoformat()
        return {"created_at": modified_at, "updated_at": modified_at}


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

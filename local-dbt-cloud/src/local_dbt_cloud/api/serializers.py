"""dbt Cloud's objects as its API writes them, from what is stored and declared."""

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
from local_dbt_cloud.database import (
    ACTIVE,
    EnvironmentVariable,
    Job,
    Run,
    RunStatus,
    RunStep,
    humanized,
    now,
)
from local_dbt_cloud.dbt_process import dbt_version
from local_dbt_cloud.durations import clock, words
from local_dbt_cloud.environment_variables import display_value
from local_dbt_cloud.run_plan import active_run_ids, blocked_by, newest_run_id, retry_refusal
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
# openapi-v2.yaml, include_related of runs: without debug_logs they are cut to so many lines.
TRUNCATED_DEBUG_LOG_LINES = 1000


def spaced(moment: datetime | None) -> str | None:
    """Write a moment as runs, triggers and steps do: 2024-07-03 13:59:00.653171+00:00."""
    return moment.isoformat(sep=" ", timespec="microseconds") if moment else None


class Serializer:
    """Writes objects for one request.

    :param related: what is written in full: of runs trigger, job, environment, run_steps and debug_logs; of
        jobs account, project, environment, custom_environment_variables, most_recent_run and
        most_recent_completed_run.
    """

    def __init__(self, service: Service, session: Session, related: Set[str] = frozenset()) -> None:
        self.service = service
        self.session = session
        self.related = related
        # A list has many runs of few jobs.
        self._job_of_run = cache(self._read_job_of_run)
        self._newest_run_id = cache(partial(newest_run_id, session))
        self._active_run_ids = cache(partial(active_run_ids, session))

    def run(self, run: Run) -> dict[str, Any]:
        """Write a run."""
        end = run.finished_at or now()
        queued = (run.dequeued_at or end) - run.created_at
        ran = end - run.started_at if run.started_at else timedelta()
        total = end - run.created_at
        refusal = self.retry_refusal(run)
        environment = self.service.declaration.environment(run.environment_id)
        return STATIC_FIELDS["run"] | {
            "id": run.id,
            "trigger_id": run.id,
            "account_id": self.service.declaration.account.id,
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
            "created_at": spaced(run.created_at),
            "updated_at": spaced(run.updated_at),
            "dequeued_at": spaced(run.dequeued_at),
            "started_at": spaced(run.started_at),
            "finished_at": spaced(run.finished_at),
            "last_checked_at": spaced(run.updated_at),
            "last_heartbeat_at": spaced(run.updated_at),
            "duration": clock(total),
            "queued_duration": clock(queued),
            "run_duration": clock(ran),
            "duration_humanized": words(total),
            "queued_duration_humanized": words(queued),
            "run_duration_humanized": words(ran),
            "created_at_humanized": f"{words(now() - run.created_at)} ago",
            "finished_at_humanized": f"{words(now() - end)} ago",
            "trigger": self.trigger(run) if "trigger" in self.related else None,
            "job": self._job_of_run(run.job_definition_id) if "job" in self.related else None,
            "environment": (
                self.environment(environment) if environment and "environment" in self.related else None
            ),
            "run_steps": [self.step(one) for one in run.run_steps] if "run_steps" in self.related else [],
            "retrying_run_id": run.retrying_run_id,
            "can_retry": refusal is None,
            "retry_not_supported_reason": refusal,
            "href": self.service.href(run),
        }

    def retry_refusal(self, run: Run) -> str | None:
        """Return why a run cannot be retried, None if it can."""
        newest_id = self._newest_run_id(run.job_definition_id)
        return retry_refusal(self.session, self.service.data, run, newest_id)

    def trigger(self, run: Run) -> dict[str, Any]:
        """Write what started a run."""
        return run.trigger | {
            "id": run.id,
            "job_definition_id": run.job_definition_id,
            "created_at": spaced(run.created_at),
            "cause_humanized": run.trigger["cause"],
            "cause_category": run.cause_category,
            "job": None,
        }

    def _read_job_of_run(self, job_id: int) -> dict[str, Any] | None:
        job = self.session.get(Job, job_id)
        if job is None:
            return None
        written = Serializer(self.service, self.session).job(job)
        # InternalJobDefinition of dbt Cloud's OpenAPI file: a schedule is shorter here.
        schedule = written["schedule"]
        short = {"cron": schedule["cron"], "date": schedule["date"]["type"], "time": schedule["time"]["type"]}
        return written | {"schedule": short}

    def step(self, step: RunStep) -> dict[str, Any]:
        """Write a step with its log; its whole debug log only when ``related`` names debug_logs."""
        data = self.service.data
        debug_log = data.step_debug_log(step.run_id, step.index)
        took = (step.finished_at or now()) - step.started_at if step.started_at else timedelta()
        _, _, command = step.name.partition("`")
        return STATIC_FIELDS["step"] | {
            "id": step.id,
            "run_id": step.run_id,
            "account_id": self.service.declaration.account.id,
            "index": step.index,
            "status": step.status,
            "status_humanized": humanized(step.status),
            "status_color": STATUS_COLORS[RunStatus(step.status)],
            "name": step.name,
            "logs": read_text(data.step_log(step.run_id, step.index)),
            "debug_logs": read_text(debug_log) if "debug_logs" in self.related else "",
            "truncated_debug_logs": read_text(debug_log, last_lines=TRUNCATED_DEBUG_LOG_LINES),
            "created_at": spaced(step.created_at),
            "updated_at": spaced(step.updated_at),
            "started_at": spaced(step.started_at),
            "finished_at": spaced(step.finished_at),
            "duration": clock(took),
            "duration_humanized": words(took),
            "run_step_command": (
                {"run_step_id": step.id, "dbt_command": command.rstrip("`")} if command else None
            ),
            "run_step_invocation": {"run_step_id": step.id, "run_id": step.run_id},
        }

    def job(self, job: Job) -> dict[str, Any]:
        """Write a job."""
        written = STATIC_FIELDS["job"] | job.definition | {
            "id": job.id,
            "state": job.state,
            "created_at": job.created_at.isoformat(),
            "updated_at": job.updated_at.isoformat(),
        }  # fmt: skip
        for name in self.related & written.keys():
            written[name] = self._related_to_job(name, job, written[name])
        return written

    def _related_to_job(self, name: str, job: Job, unasked: Any) -> Any:
        declaration = self.service.declaration
        runs = select(Run).where(Run.job_definition_id == job.id).order_by(Run.id.desc()).limit(1)
        match name:
            case "account":
                return self.account()
            case "project":
                project = declaration.project(job.definition["project_id"])
                return self.project(project) if project else None
            case "environment":
                environment = declaration.environment(job.definition["environment_id"])
                return self.environment(environment) if environment else None
            case "custom_environment_variables":
                of_job = select(EnvironmentVariable).where(EnvironmentVariable.job_definition_id == job.id)
                return [self.variable(one) for one in self.session.scalars(of_job)]
            case "most_recent_run" | "most_recent_completed_run":
                if name == "most_recent_completed_run":
                    runs = runs.where(Run.status.not_in(ACTIVE))
                run = self.session.scalar(runs)
                return Serializer(self.service, self.session).run(run) if run else None
        return unasked

    def environment(self, environment: Environment, api: str = "v2") -> dict[str, Any]:
        """Write an environment for a version of the API."""
        return STATIC_FIELDS["environment"] | STATIC_FIELDS[f"environment_{api}"] | self._declared() | {
            "id": environment.id,
            "account_id": self.service.declaration.account.id,
            "project_id": environment.project_id,
            "name": environment.name,
            "dbt_version": dbt_version(),
            "raw_dbt_version": dbt_version(),
        }  # fmt: skip

    def project(self, project: Project) -> dict[str, Any]:
        """Write a project, for v2 and v3 alike."""
        account_id = self.service.declaration.account.id
        own = {"id": project.id, "account_id": account_id, "name": project.name}
        return STATIC_FIELDS["project"] | self._declared() | own

    def account(self) -> dict[str, Any]:
        """Write the account, for v2 and v3 alike."""
        account = self.service.declaration.account
        return STATIC_FIELDS["account"] | self._declared() | {
            "id": account.id,
            "name": account.name,
            "run_slots": account.run_slots,
            "identifier": f"act_local_{account.id}",
        }  # fmt: skip

    def variable(self, variable: EnvironmentVariable) -> dict[str, Any]:
        """Write a value of an environment variable."""
        return {
            "id": variable.id,
            "account_id": self.service.declaration.account.id,
            "project_id": variable.project_id,
            "environment_id": variable.environment_id,
            "job_definition_id": variable.job_definition_id,
            "user_id": None,
            "name": variable.name,
            "type": variable.type,
            "display_value": display_value(variable),
            "state": 1,
            "environment": None,
            "created_at": variable.created_at.isoformat(),
            "updated_at": variable.updated_at.isoformat(),
        }

    def _declared(self) -> dict[str, str]:
        moment = self.service.declared_at.isoformat()
        return {"created_at": moment, "updated_at": moment}


def status_fields(status: int) -> dict[str, Any]:
    """Return the fields of a run that say its status."""
    return {
        "status": status,
        "status_humanized": humanized(status),
        "in_progress": status in ACTIVE,
        "is_complete": status not in ACTIVE,
        "is_success": status == RunStatus.SUCCESS,
        "is_error": status == RunStatus.ERROR,
        "is_cancelled": status == RunStatus.CANCELLED,
    }

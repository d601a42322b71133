"""dbt Cloud's objects as its API writes them, from what is stored and declared."""

from collections.abc import Set
from datetime import datetime, timedelta
from importlib.metadata import version
from typing import Any

from sqlalchemy.orm import Session

from include.local_dbt_cloud.account import Environment, Job, Project
from include.local_dbt_cloud.files import read_text
from include.local_dbt_cloud.humanize import clock, words
from include.local_dbt_cloud.service import Service
from include.local_dbt_cloud.store import ACTIVE, Run, RunStatus, RunStep, humanized, now

STATUS_COLORS = {
    RunStatus.QUEUED: "#9ca3af",
    RunStatus.STARTING: "#9ca3af",
    RunStatus.RUNNING: "#2563eb",
    RunStatus.SUCCESS: "#16a34a",
    RunStatus.ERROR: "#dc2626",
    RunStatus.CANCELLED: "#6b7280",
}
TRUNCATED_DEBUG_LOG_LINES = 1000


def spaced(moment: datetime | None) -> str | None:
    """Write a moment as runs, triggers and steps do: 2024-07-03 13:59:00.653171+00:00."""
    return moment.isoformat(sep=" ", timespec="microseconds") if moment else None


def run_object(
    service: Service, session: Session, run: Run, related: Set[str] = frozenset()
) -> dict[str, Any]:
    """Write a run.

    :param related: what is written in full: trigger, job, environment, run_steps, debug_logs.
    """
    job = service.declaration.job(run.job_definition_id)
    environment = service.declaration.environment(run.environment_id)
    end = run.finished_at or now()
    queued = (run.dequeued_at or end) - run.created_at
    ran = end - run.started_at if run.started_at else timedelta()
    total = end - run.created_at
    return {
        "id": run.id,
        "trigger_id": run.id,
        "account_id": service.declaration.account.id,
        "environment_id": run.environment_id,
        "project_id": run.project_id,
        "job_definition_id": run.job_definition_id,
        "job_id": run.job_definition_id,
        "status": run.status,
        "status_humanized": humanized(run.status),
        "status_message": run.status_message,
        "in_progress": run.status in ACTIVE,
        "is_complete": run.status not in ACTIVE,
        "is_success": run.status == RunStatus.SUCCESS,
        "is_error": run.status == RunStatus.ERROR,
        "is_cancelled": run.status == RunStatus.CANCELLED,
        "is_running": None,
        "blocked_by": service.blocked_by(session, run),
        "dbt_version": run.dbt_version,
        "git_branch": run.trigger.get("git_branch"),
        "git_sha": run.trigger.get("git_sha"),
        "owner_thread_id": None,
        "executed_by_thread_id": None,
        "deferring_run_id": None,
        "artifacts_saved": run.finished_at is not None and run.started_at is not None,
        "artifact_s3_path": None,
        "has_docs_generated": run.has_docs_generated,
        "has_sources_generated": run.has_sources_generated,
        "notifications_sent": False,
        "created_at": spaced(run.created_at),
        "updated_at": spaced(run.updated_at),
        "dequeued_at": spaced(run.dequeued_at),
        "started_at": spaced(run.started_at),
        "finished_at": spaced(run.finished_at),
        "last_checked_at": spaced(run.updated_at),
        "last_heartbeat_at": spaced(run.updated_at),
        "should_start_at": None,
        "duration": clock(total),
        "queued_duration": clock(queued),
        "run_duration": clock(ran),
        "duration_humanized": words(total),
        "queued_duration_humanized": words(queued),
        "run_duration_humanized": words(ran),
        "created_at_humanized": f"{words(now() - run.created_at)} ago",
        "finished_at_humanized": f"{words(now() - end)} ago",
        "trigger": trigger_object(run) if "trigger" in related else None,
        "job": job_object(service, job) if job and "job" in related else None,
        "environment": environment_object(service, environment)
        if environment and "environment" in related
        else None,
        "run_steps": [step_object(service, step, related) for step in run.run_steps]
        if "run_steps" in related
        else [],
        "deprecation": None,
        "audit": None,
        "retrying_run_id": None,
        "can_retry": False,
        "retry_not_supported_reason": (
            "RETRY_UNSUPPORTED_CMD" if run.status == RunStatus.ERROR else "RETRY_NOT_FAILED_RUN"
        ),
        "href": service.href(run),
        "used_repo_cache": None,
    }


def trigger_object(run: Run) -> dict[str, Any]:
    """Write what started a run."""
    cause = run.trigger["cause"]
    return run.trigger | {
        "id": run.id,
        "job_definition_id": run.job_definition_id,
        "created_at": spaced(run.created_at),
        "cause_humanized": cause,
        "cause_category": "api",
        "job": None,
    }


def step_object(service: Service, step: RunStep, related: Set[str] = frozenset()) -> dict[str, Any]:
    """Write a step with its log; its whole debug log only when ``related`` names debug_logs."""
    debug_log = read_text(service.data.step_debug_log(step.run_id, step.index))
    took = (step.finished_at or now()) - step.started_at if step.started_at else timedelta()
    _, _, command = step.name.partition("`")
    return {
        "id": step.id,
        "run_id": step.run_id,
        "account_id": service.declaration.account.id,
        "index": step.index,
        "status": step.status,
        "status_humanized": humanized(step.status),
        "status_color": STATUS_COLORS[RunStatus(step.status)],
        "name": step.name,
        "logs": read_text(service.data.step_log(step.run_id, step.index)),
        "debug_logs": debug_log if "debug_logs" in related else "",
        "truncated_debug_logs": "\n".join(debug_log.splitlines()[-TRUNCATED_DEBUG_LOG_LINES:]),
        "log_path": None,
        "debug_log_path": None,
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


def job_object(service: Service, job: Job) -> dict[str, Any]:
    """Write a job."""
    project, environment = service.declaration.place_of(job)
    return {
        "id": job.id,
        "account_id": service.declaration.account.id,
        "project_id": project.id,
        "environment_id": environment.id,
        "name": job.name,
        "description": job.description,
        "dbt_version": None,
        "raw_dbt_version": None,
        "deferring_environment_id": None,
        "deferring_job_definition_id": None,
        "execute_steps": job.execute_steps,
        "execution": job.execution.model_dump(),
        "settings": job.settings.model_dump(),
        "generate_docs": job.generate_docs,
        "run_generate_sources": job.run_generate_sources,
        "generate_sources": job.run_generate_sources,
        "is_deferrable": False,
        "is_system": False,
        "job_type": "other",
        "lifecycle_webhooks": False,
        "lifecycle_webhooks_url": None,
        "run_failure_count": 0,
        "run_compare_changes": False,
        "compare_changes_flags": "",
        "run_lint": False,
        "errors_on_lint_failure": False,
        "cost_optimization_features": [],
        "state": 1,
        "triggers": {
            "github_webhook": False,
            "git_provider_webhook": False,
            "schedule": False,
            "on_merge": False,
            "custom_branch_only": False,
        },
        "triggers_on_draft_pr": False,
        "job_completion_trigger_condition": None,
        "schedule": {
            "cron": "0 * * * *",
            "date": {"type": "every_day", "days": None, "cron": None},
            "time": {"type": "every_hour", "interval": 1, "hours": None},
        },
        "created_at": service.declared_at.isoformat(),
        "updated_at": service.declared_at.isoformat(),
        "account": None,
        "project": None,
        "environment": None,
        "fusion_readiness": None,
        "most_recent_run": None,
        "most_recent_completed_run": None,
    }


def environment_object(service: Service, environment: Environment) -> dict[str, Any]:
    """Write an environment, for v2 and v3 alike."""
    return {
        "id": environment.id,
        "account_id": service.declaration.account.id,
        "project_id": environment.project_id,
        "name": environment.name,
        "connection_id": None,
        "credentials_id": None,
        "repository_id": None,
        "extended_attributes_id": None,
        "custom_branch": None,
        "use_custom_branch": False,
        "dbt_project_subdirectory": None,
        "dbt_version": version("dbt-core"),
        "raw_dbt_version": version("dbt-core"),
        "supports_docs": True,
        "deployment_type": "production",
        "type": "deployment",
        "created_by_id": None,
        "state": 1,
        "created_at": service.declared_at.isoformat(),
        "updated_at": service.declared_at.isoformat(),
        "repository": None,
        "connection": None,
        "jobs": None,
        "custom_environment_variables": None,
    }


def project_object(service: Service, project: Project) -> dict[str, Any]:
    """Write a project, for v2 and v3 alike."""
    return {
        "id": project.id,
        "account_id": service.declaration.account.id,
        "name": project.name,
        "description": "",
        "connection_id": None,
        "repository_id": None,
        "semantic_layer_config_id": None,
        "dbt_project_subdirectory": None,
        "docs_job_id": None,
        "freshness_job_id": None,
        "type": 0,
        "state": 1,
        "created_at": service.declared_at.isoformat(),
        "updated_at": service.declared_at.isoformat(),
        "connection": None,
        "environments": None,
        "repository": None,
        "group_permissions": None,
        "docs_job": None,
        "freshness_job": None,
        "fusion_readiness": None,
        "default_version": None,
    }


def account_object(service: Service) -> dict[str, Any]:
    """Write the account, for v2 and v3 alike."""
    account = service.declaration.account
    return {
        "id": account.id,
        "name": account.name,
        "plan": "developer",
        "run_slots": account.run_slots,
        "developer_seats": 1,
        "it_seats": 0,
        "explorer_seats": 0,
        "analyst_seats": 0,
        "read_only_seats": 0,
        "locked": False,
        "lock_reason": None,
        "lock_cause": None,
        "unlocked_at": None,
        "pending_cancel": False,
        "billing_email_address": None,
        "pod_memory_request_mebibytes": 600,
        "develop_pod_memory_request_mebibytes": 0,
        "run_duration_limit_seconds": 86400,
        "queue_limit": 50,
        "enterprise_login_slug": None,
        "business_critical": False,
        "starter_repo_url": None,
        "git_auth_level": "personal",
        "identifier": f"act_local_{account.id}",
        "trial_end_date": None,
        "static_subdomain": None,
        "vanity_subdomain": None,
        "run_locked_until": None,
        "copilot_locked_until": None,
        "agent_credit_locked": False,
        "state": 1,
        "docs_job_id": None,
        "freshness_job_id": None,
        "account_migration_events": [],
        "groups": [],
        "created_at": service.declared_at.isoformat(),
        "updated_at": service.declared_at.isoformat(),
    }

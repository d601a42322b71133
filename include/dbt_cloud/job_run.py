"""A dbt Cloud job run, as the Administrative API returns it."""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from airflow.providers.dbt.cloud.hooks.dbt import DbtCloudJobRunStatus

ACTIVE_STATUSES: tuple[int, ...] = DbtCloudJobRunStatus.NON_TERMINAL_STATUSES.value
OUTCOMES = {
    DbtCloudJobRunStatus.SUCCESS.value: "success",
    DbtCloudJobRunStatus.ERROR.value: "error",
    DbtCloudJobRunStatus.CANCELLED.value: "cancelled",
}

# What dbt Core and the Fusion engine print when they do not accept a command line.
REJECTION = re.compile(
    r"^Usage: dbt (?:.*\n)*?Error: (.+)|^error: (unexpected argument .+)"
    r"|Encountered an error:\s+Compilation Error\s+(The selection criterion .+)",
    re.MULTILINE,
)


def to_iso(value: Any) -> str | None:
    """Return a time of the API in ISO 8601, such as 2026-01-01T12:00:00+00:00; None if it is not a time.

    dbt Cloud separates date and time by a space, and omits the offset in some fields.
    """
    try:
        time = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).isoformat()


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


@dataclass(frozen=True)
class JobRun:
    """A run of a dbt Cloud job.

    ``cause``, ``steps`` and the names of the job and the environment are empty unless the request asked for
    them with ``include_related``. ``created_at`` is in UTC, as dbt Cloud writes it; the other times are in
    ISO 8601, or None.
    """

    id: int
    status: int
    href: str = ""
    status_humanized: str = ""
    status_message: str = ""
    account_id: int | None = None
    created_at: str = ""
    cause: str = ""
    retrying_run_id: int | None = None
    job_id: int | None = None
    job_name: str = ""
    environment_name: str = ""
    git_branch: str | None = None
    git_sha: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    steps: list[dict[str, Any]] = field(default_factory=list, repr=False)

    @classmethod
    def from_api(cls, data: Any) -> Self:
        """Return the run in an API object.

        :raises ValueError: The object is not a run.
        """
        if not isinstance(data, dict) or not all(isinstance(data.get(key), int) for key in ("id", "status")):
            raise ValueError("not a run of dbt Cloud")
        trigger, job, environment = (_object(data.get(key)) for key in ("trigger", "job", "environment"))
        return cls(
            id=data["id"],
            status=data["status"],
            href=data.get("href") or "",
            status_humanized=data.get("status_humanized") or str(data["status"]),
            status_message=str(data.get("status_message") or ""),
            account_id=data.get("account_id"),
            created_at=data.get("created_at") or "",
            cause=str(trigger.get("cause") or ""),
            retrying_run_id=data.get("retrying_run_id"),
            job_id=data.get("job_definition_id"),
            job_name=job.get("name") or "",
            environment_name=environment.get("name") or "",
            git_branch=data.get("git_branch"),
            git_sha=data.get("git_sha"),
            started_at=to_iso(data.get("started_at")),
            finished_at=to_iso(data.get("finished_at")),
            steps=data.get("run_steps") or [],
        )

    def is_created_before(self, time: float | None) -> bool:
        """Return whether the run was created before a time (seconds since the epoch); False if unknown."""
        created_at = to_iso(self.created_at)
        if time is None or created_at is None:
            return False
        return datetime.fromisoformat(created_at).timestamp() < time

    @property
    def is_active(self) -> bool:
        """Whether the run is queued, starting or running."""
        return self.status in ACTIVE_STATUSES

    @property
    def outcome(self) -> str | None:
        """How the run ended: success, error, cancelled, or expired (the job's time limit); None before."""
        # dbt Cloud reports a run that exceeded its job's time limit as canceled.
        expired = self.status_message.startswith("This run timed out")
        outcome = OUTCOMES.get(self.status)
        return "expired" if outcome == "cancelled" and expired else outcome

    @property
    def rejection(self) -> str:
        """Why dbt rejected a step's command line, such as an unknown option; empty if it rejected none."""
        found = (REJECTION.search(step.get("logs") or "") for step in self.steps)
        return next((match[match.lastindex or 0].strip() for match in found if match), "")

    @property
    def summary(self) -> str:
        """A sentence about how the run ended, with its ID, the reason and the link."""
        reason = f" {self.status_message}" if self.status_message else ""
        link = f" See {self.href}" if self.href else ""
        return f"dbt Cloud run {self.id} ended: {self.status_humanized}.{reason}{link}"

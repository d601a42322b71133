"""The request body that triggers a run."""

from pydantic import BaseModel, field_validator

from local_dbt_cloud.dbt_commands import dbt_arguments
from local_dbt_cloud.job_definition import JobDefinition, Seconds, Threads
from local_dbt_cloud.validation import ShortText, Text, TextWithoutJinja


class TriggerRequest(BaseModel):
    """``TriggerRunRequestRequest`` of dbt Cloud's OpenAPI file: a cause, and overrides of the job's settings.

    An override of None keeps the job's setting. Unknown fields are ignored.
    """

    cause: ShortText
    git_sha: ShortText | None = None
    git_branch: ShortText | None = None
    azure_pull_request_id: int | None = None
    github_pull_request_id: int | None = None
    gitlab_merge_request_id: int | None = None
    non_native_pull_request_id: int | None = None
    schema_override: TextWithoutJinja | None = None
    dbt_version_override: ShortText | None = None
    threads_override: Threads | None = None
    target_name_override: TextWithoutJinja | None = None
    generate_docs_override: bool | None = None
    timeout_seconds_override: Seconds | None = None
    steps_override: list[Text] | None = None

    @field_validator("steps_override")
    @classmethod
    def _check_steps(cls, steps: list[str] | None) -> list[str] | None:
        for step in steps or []:
            dbt_arguments(step)
        # Some clients send an empty list when they do not override the steps.
        return steps or None

    def timeout(self, job: JobDefinition) -> int | None:
        """Return the seconds after which a run is canceled, or None if it has no limit."""
        override = self.timeout_seconds_override
        return (job.execution.timeout_seconds if override is None else override) or None

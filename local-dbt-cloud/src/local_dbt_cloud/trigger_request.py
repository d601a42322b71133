"""The body of the request that triggers a run."""

from pydantic import BaseModel, field_validator

from local_dbt_cloud.dbt_commands import dbt_arguments
from local_dbt_cloud.job_definition import Seconds, Threads
from local_dbt_cloud.validation import Name, Plain, Text


class TriggerRequest(BaseModel):
    """TriggerRunRequestRequest of dbt Cloud's OpenAPI file: a cause, and what this run does differently.

    None leaves the job's own setting. Words that are not known are ignored.
    """

    cause: Name
    git_sha: Name | None = None
    git_branch: Name | None = None
    azure_pull_request_id: int | None = None
    github_pull_request_id: int | None = None
    gitlab_merge_request_id: int | None = None
    non_native_pull_request_id: int | None = None
    schema_override: Plain | None = None
    dbt_version_override: Name | None = None
    threads_override: Threads | None = None
    target_name_override: Plain | None = None
    generate_docs_override: bool | None = None
    timeout_seconds_override: Seconds | None = None
    steps_override: list[Text] | None = None

    @field_validator("steps_override")
    @classmethod
    def _are_dbt_commands(cls, steps: list[str] | None) -> list[str] | None:
        for step in steps or []:
            dbt_arguments(step)
        # No steps at all cannot be meant: some clients send an empty list for "as the job says".
        return steps or None

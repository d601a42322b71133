"""The definition of a job, in account.yaml and in requests that create or update a job."""

from collections.abc import Callable
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from local_dbt_cloud.dbt_commands import dbt_arguments
from local_dbt_cloud.schedule import JobSchedule
from local_dbt_cloud.validation import Id, InputModel, ShortText, Text, TextWithoutJinja

Threads = Annotated[int, Field(ge=1, le=128)]
Seconds = Annotated[int, Field(ge=0, le=10**9)]

STATE_AWARE = "state_aware_orchestration"
DBT_STATE = "dbt_state"


class JobSettings(InputModel):
    """Number of threads and name of the target in dbt's profile."""

    threads: Threads = 4
    target_name: TextWithoutJinja = "default"


class JobExecution(InputModel):
    """Limits of a run; a ``timeout_seconds`` of 0 means no limit."""

    timeout_seconds: Seconds = 0


class JobTriggers(InputModel):
    """Events that start the job; here, only ``schedule`` starts runs."""

    github_webhook: bool = False
    git_provider_webhook: bool = False
    schedule: bool = False
    on_merge: bool = False
    custom_branch_only: bool = False


class CompletionCondition(InputModel):
    """Upstream job, and the statuses of its runs that start this job."""

    job_id: Id
    project_id: Id
    statuses: list[Literal[10, 20, 30]] = Field(default=[10, 20, 30])


class JobCompletionTrigger(InputModel):
    """Upstream job whose runs start this one."""

    condition: CompletionCondition


class JobDefinition(InputModel):
    """``HumanReadableJobDefinitionRequest`` of dbt Cloud's OpenAPI file.

    Runs use ``execute_steps``, ``settings``, ``execution``, ``generate_docs`` and ``run_generate_sources``.
    The schedule and the completion trigger start runs. The other fields are stored and have no effect.
    """

    account_id: Id | None = None
    project_id: Id | None = None
    environment_id: Id
    name: ShortText
    description: Text = ""
    dbt_version: ShortText | None = None
    execute_steps: list[Text] = Field(default=[])
    settings: JobSettings = JobSettings()
    execution: JobExecution = JobExecution()
    generate_docs: bool = False
    run_generate_sources: bool = False
    generate_sources: bool = False
    triggers: JobTriggers = JobTriggers()
    schedule: JobSchedule = JobSchedule()
    job_type: Literal["ci", "scheduled", "other", "merge", "exposure_sync", "adaptive", "hybrid"] = "other"
    deferring_environment_id: Id | None = None
    deferring_job_definition_id: Id | None = None
    job_completion_trigger_condition: JobCompletionTrigger | None = None
    triggers_on_draft_pr: bool = False
    lifecycle_webhooks: bool = False
    lifecycle_webhooks_url: Text | None = None
    force_node_selection: bool | None = None
    run_compare_changes: bool = False
    compare_changes_flags: Text = "--select state:modified"
    run_lint: bool = False
    errors_on_lint_failure: bool = True
    cost_optimization_features: list[Text] = Field(default=[])

    @model_validator(mode="after")
    def _derive(self) -> Self:
        """Derive the job type from the triggers, and ``force_node_selection`` from the optimizations.

        As the Terraform provider documents it: CI and the other types are fixed, but ``scheduled``, ``other``
        and ``merge`` follow the triggers. Optimizations take precedence over ``force_node_selection``.
        """
        if self.job_type in ("scheduled", "other", "merge"):
            if self.triggers.github_webhook or self.triggers.git_provider_webhook:
                self.job_type = "ci"
            elif self.triggers.on_merge:
                self.job_type = "merge"
            elif self.job_type != "merge":
                self.job_type = "scheduled" if self.triggers.schedule else "other"
        if DBT_STATE in self.cost_optimization_features:
            self.cost_optimization_features = [DBT_STATE]
        if self.cost_optimization_features:
            self.force_node_selection = not {STATE_AWARE, DBT_STATE} & set(self.cost_optimization_features)
        elif self.force_node_selection is False:
            self.cost_optimization_features = [STATE_AWARE]
        return self

    @field_validator("execute_steps")
    @classmethod
    def _check_steps(cls, steps: list[str]) -> list[str]:
        for step in steps:
            dbt_arguments(step)
        return steps


def check_completion_triggers(
    job_id: int | None, job: JobDefinition, find: Callable[[int], JobDefinition | None]
) -> None:
    """Check the chain of upstream jobs whose completion starts a job.

    :param job_id: ID of the job; None if it is new.
    :param find: Returns another job by its ID.
    :raises ValueError: An upstream job does not exist or is in another project, or the chain is a cycle.
    """
    chain = [job_id]
    while job.job_completion_trigger_condition:
        condition = job.job_completion_trigger_condition.condition
        upstream = find(condition.job_id)
        if upstream is None:
            raise ValueError(f"Job {job.name!r} runs after job {condition.job_id}, which does not exist")
        if upstream.project_id != condition.project_id:
            raise ValueError(f"Job {condition.job_id} belongs to project {upstream.project_id}")
        if condition.job_id in chain:
            raise ValueError(f"Job {condition.job_id} would run after itself: remove a completion trigger")
        chain.append(condition.job_id)
        job = upstream

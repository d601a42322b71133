"""Let the provider emit OpenLineage events for the steps that a run has executed."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from airflow.providers.dbt.cloud.hooks.dbt import DbtCloudHook

# Commands with results that lineage can be derived from.
BUILDING = ("dbt build", "dbt run", "dbt seed", "dbt snapshot", "dbt test")


@contextmanager
def executed_steps(hook: DbtCloudHook) -> Iterator[None]:
    """Make a run's own steps pass for those of its job while the block runs.

    The provider looks for the job's steps among the run's. It finds none if ``steps_override`` replaced
    them, or if a command contains a dot.
    """
    get_job_run = hook.get_job_run

    def with_executed_steps(*args: Any, **kwargs: Any) -> Any:
        body = get_job_run(*args, **kwargs).json()
        run = body["data"]
        steps = [step for step in run["run_steps"] if any(f"`{one}" in step["name"] for one in BUILDING)]
        for step in steps:
            step["name"] = "Invoke dbt with `dbt build`"
        run["run_steps"], run["job"]["execute_steps"] = steps, ["dbt build"]
        return SimpleNamespace(json=lambda: body)

    hook.get_job_run = with_executed_steps  # type: ignore[method-assign]
    try:
        yield
    finally:
        hook.get_job_run = get_job_run  # type: ignore[method-assign]

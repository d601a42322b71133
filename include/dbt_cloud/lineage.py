"""Let the provider emit OpenLineage events for what a run has executed."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from include.dbt_cloud.hook import DbtCloudHook

# Commands with results that lineage can be derived from.
BUILDING = ("dbt build", "dbt run", "dbt seed", "dbt snapshot", "dbt test")


@contextmanager
def executed_steps(hook: DbtCloudHook) -> Iterator[None]:
    """Let the provider find a run's steps and its connection while the block runs.

    The provider looks for the steps of the job among those of the run. It finds none if ``steps_override``
    replaced them, or if a command contains a dot. It also takes the connection from the project, which has
    none if each environment has its own.
    """
    get_job_run, get_project = hook.get_job_run, hook.get_project
    run: dict[str, Any] = {}

    def with_executed_steps(*args: Any, **kwargs: Any) -> Any:
        body = get_job_run(*args, **kwargs).json()
        run.update(body["data"])
        steps = [step for step in run["run_steps"] if any(f"`{one}" in step["name"] for one in BUILDING)]
        for step in steps:
            step["name"] = "Invoke dbt with `dbt build`"
        run["job"]["execute_steps"] = ["dbt build"]
        return SimpleNamespace(json=lambda: {"data": run | {"run_steps": steps}})

    def with_connection(*args: Any, **kwargs: Any) -> Any:
        project = get_project(*args, **kwargs).json()["data"]
        connection = project.get("connection") or _environment_connection(hook, run)
        return SimpleNamespace(json=lambda: {"data": project | {"connection": connection}})

    hook.get_job_run = with_executed_steps  # type: ignore[method-assign]
    hook.get_project = with_connection  # type: ignore[method-assign]
    try:
        yield
    finally:
        hook.get_job_run, hook.get_project = get_job_run, get_project  # type: ignore[method-assign]


def _environment_connection(hook: DbtCloudHook, run: dict[str, Any]) -> dict[str, Any]:
    """Return the connection of a run's environment with the fields of a project's connection."""
    account_id = run["account_id"]
    environment = hook.get_environment(run["project_id"], run["environment_id"], account_id=account_id)
    connection = hook.get_global_connection(environment.json()["data"]["connection_id"], account_id)
    config = connection["config"]
    # The names of these fields in dbt's profiles.
    aliases = {"host": config.get("hostname"), "path": config.get("database")}
    return {
        "name": connection["name"],
        "type": connection["adapter_version"].rpartition("_")[0],
        "details": aliases | config,
    }

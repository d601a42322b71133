"""Airflow's dbt Cloud provider, unmodified: hook, operators, sensor and trigger work with the emulator."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("airflow.providers.dbt.cloud", reason="needs the Airflow provider, not installed here")

from airflow.providers.dbt.cloud.hooks.dbt import (
    DbtCloudHook,
    DbtCloudJobRunException,
    DbtCloudResourceLookupError,
)
from airflow.providers.dbt.cloud.operators.dbt import (
    DbtCloudGetJobRunArtifactOperator,
    DbtCloudListJobsOperator,
    DbtCloudRunJobOperator,
)
from airflow.providers.dbt.cloud.sensors.dbt import DbtCloudJobRunSensor
from airflow.providers.dbt.cloud.triggers.dbt import DbtCloudRunJobTrigger
from airflow.sdk.exceptions import TaskDeferred

from local_dbt_cloud.run_status import RunStatus
from running_cloud import RunningCloud
from tiny_account import FAILING, QUICK, SLOW

CONN_ID = "dbt_conn"


@pytest.fixture
def cloud(tiny_cloud: RunningCloud, monkeypatch: pytest.MonkeyPatch) -> RunningCloud:
    monkeypatch.setenv("AIRFLOW_CONN_DBT_CONN", tiny_cloud.connection)
    return tiny_cloud


@pytest.fixture
def hook(cloud: RunningCloud) -> DbtCloudHook:
    return DbtCloudHook(CONN_ID)


class TaskInstance:
    """The attributes of a task instance that the operator uses."""

    def __init__(self, try_number: int = 1) -> None:
        self.try_number = try_number
        self.xcoms: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value


def context(ti: TaskInstance) -> Any:
    """Return the part of the task's context that the operator uses."""
    return {"ti": ti}


def first_event(trigger: DbtCloudRunJobTrigger) -> dict[str, Any]:
    """Run a trigger, as the triggerer does, until it fires."""

    async def fire() -> dict[str, Any]:
        return (await anext(trigger.run())).payload

    return asyncio.run(fire())


def test_connection_test_passes(hook: DbtCloudHook) -> None:
    assert hook.test_connection() == (True, "Successfully connected to dbt Cloud.")


def test_hook_reads_account_projects_environments_and_jobs(hook: DbtCloudHook) -> None:
    assert hook.get_account().json()["data"]["id"] == 1
    assert [project["name"] for project in hook.list_projects()[0].json()["data"]] == ["Tiny"]
    assert hook.get_project(1).json()["data"]["id"] == 1
    assert len(hook.list_environments(1)[0].json()["data"]) == 2
    assert hook.get_environment(1, 2).json()["data"]["name"] == "2"
    assert hook.get_job(QUICK).json()["data"]["name"] == "one"
    assert [job["id"] for job in hook.list_jobs(order_by="-id")[0].json()["data"]] == [4, 3, 2, 1]
    found = hook.get_job_by_name(project_name="Tiny", environment_name="2", job_name="endless")
    assert found["id"] == 4


def test_hook_reads_all_pages_of_runs(cloud: RunningCloud, hook: DbtCloudHook) -> None:
    run_ids = [cloud.add_run(job_id=QUICK) for _ in range(230)]
    pages = hook.list_job_runs(job_definition_id=QUICK, order_by="-id", include_related=["trigger", "job"])
    runs = [run for page in pages for run in page.json()["data"]]
    assert len(pages) == 3
    assert [run["id"] for run in runs] == run_ids[::-1]
    assert runs[0]["trigger"]["cause"] == "a test"


@pytest.mark.parametrize("status", [RunStatus.SUCCESS, RunStatus.ERROR, RunStatus.CANCELLED])
def test_trigger_fires_with_the_final_status(cloud: RunningCloud, status: RunStatus) -> None:
    run_id = cloud.add_run(status)
    trigger = DbtCloudRunJobTrigger(CONN_ID, run_id, time.time() + 60, poll_interval=0.1, account_id=None)
    names = {RunStatus.SUCCESS: "success", RunStatus.ERROR: "error", RunStatus.CANCELLED: "cancelled"}
    assert first_event(trigger)["status"] == names[status]


@pytest.mark.end_to_end
def test_deferrable_and_artifact_operators_succeed(
    cloud: RunningCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = DbtCloudRunJobOperator(
        task_id="trigger_job", dbt_cloud_conn_id=CONN_ID, job_id=QUICK, deferrable=True, check_interval=1,
        trigger_reason="because", schema_override="elsewhere", additional_run_config={"threads_override": 2},
    )  # fmt: skip
    ti = TaskInstance()
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context(ti))
    assert ti.xcoms["job_run_url"].startswith(cloud.service.pages_url)
    event = first_event(deferred.value.trigger)
    assert event["status"] == "success"
    run_id = operator.execute_complete(context(ti), event)
    assert run_id == ti.xcoms["job_run_id"]
    run = cloud.wait(run_id)
    assert (run["trigger"]["cause"], run["trigger"]["threads_override"]) == ("because", 2)

    monkeypatch.chdir(tmp_path)
    artifact = DbtCloudGetJobRunArtifactOperator(
        task_id="get", dbt_cloud_conn_id=CONN_ID, run_id=run_id, path="run_results.json"
    )
    file = artifact.execute(context(ti))
    assert json.loads((tmp_path / file).read_text())["results"][0]["status"] == "success"
    listed = DbtCloudListJobsOperator(task_id="list", dbt_cloud_conn_id=CONN_ID, project_id=1)
    assert listed.execute(context(ti)) == [1, 2, 3, 4]


@pytest.mark.end_to_end
def test_failed_run_fails_deferrable_operator_and_sensor(
    cloud: RunningCloud, capsys: pytest.CaptureFixture
) -> None:
    run_id = cloud.trigger(FAILING)["id"]
    sensor = DbtCloudJobRunSensor(task_id="wait", dbt_cloud_conn_id=CONN_ID, run_id=run_id, deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        sensor.execute({})
    event = first_event(deferred.value.trigger)
    with pytest.raises(DbtCloudJobRunException, match=f"Job run {run_id} has failed"):
        sensor.execute_complete({}, event)
    operator = DbtCloudRunJobOperator(task_id="trigger_job", dbt_cloud_conn_id=CONN_ID, job_id=FAILING)
    with pytest.raises(DbtCloudJobRunException, match=f"Job run {run_id} has failed"):
        operator.execute_complete({}, event)
    assert "on purpose" in capsys.readouterr().out


@pytest.mark.end_to_end
def test_synchronous_operator_runs_reuses_and_cancels(cloud: RunningCloud) -> None:
    operator = DbtCloudRunJobOperator(
        task_id="trigger_job", dbt_cloud_conn_id=CONN_ID, job_id=QUICK, trigger_reason="x", check_interval=1,
        deferrable=False,
    )  # fmt: skip
    run_id = operator.execute(context(TaskInstance()))
    assert cloud.wait(run_id)["status_humanized"] == "Success"
    assert DbtCloudJobRunSensor(task_id="wait", dbt_cloud_conn_id=CONN_ID, run_id=run_id).poke({})

    no_wait = DbtCloudRunJobOperator(
        task_id="trigger_job", dbt_cloud_conn_id=CONN_ID, job_id=SLOW, trigger_reason="x",
        wait_for_termination=False,
    )  # fmt: skip
    slow = no_wait.execute(context(TaskInstance()))
    again = DbtCloudRunJobOperator(
        task_id="trigger_job", dbt_cloud_conn_id=CONN_ID, job_id=SLOW, trigger_reason="x",
        wait_for_termination=False, reuse_existing_run=True,
    )  # fmt: skip
    assert again.execute(context(TaskInstance())) == slow
    no_wait.on_kill()
    assert cloud.wait(slow)["status_message"] == "Cancelled by user."


@pytest.mark.end_to_end
def test_second_try_retries_from_the_point_of_failure(cloud: RunningCloud, tmp_path: Path) -> None:
    operator = DbtCloudRunJobOperator(
        task_id="trigger_job", dbt_cloud_conn_id=CONN_ID, trigger_reason="x", check_interval=1,
        project_name="Tiny", environment_name="1", job_name="broken", retry_from_failure=True,
    )  # fmt: skip
    first = TaskInstance()
    with pytest.raises(DbtCloudJobRunException, match="reached terminal status ERROR"):
        operator.execute(context(first))
    (tmp_path / "tiny" / "models" / "broken.sql").write_text("select 1 as n")
    run_id = operator.execute(context(TaskInstance(try_number=2)))
    run = cloud.wait(run_id)
    assert run["retrying_run_id"] == first.xcoms["job_run_id"]
    assert run["run_steps"][3]["name"] == "Invoke dbt with `dbt retry`"
    # After a success, a second try triggers a new run.
    assert cloud.wait(operator.execute(context(TaskInstance(try_number=2))))["retrying_run_id"] is None


def test_lookup_of_unknown_job_name_fails(hook: DbtCloudHook) -> None:
    with pytest.raises(DbtCloudResourceLookupError, match="Found 0 jobs with name `none`"):
        hook.get_job_by_name(project_name="Tiny", environment_name="1", job_name="none")

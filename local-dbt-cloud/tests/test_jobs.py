"""Jobs: declared in account.yaml, created, updated and deleted through the API."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from local_dbt_cloud.run_status import RunStatus
from running_cloud import RunningCloud, running_cloud
from tiny_account import QUICK

NEW_JOB = {
    "name": "Nightly",
    "environment_id": 1,
    "project_id": 1,
    "account_id": 1,
    "execute_steps": ["dbt seed", "dbt run"],
    "settings": {"threads": 2, "target_name": "nightly"},
    "triggers": {"github_webhook": False, "schedule": True},
    "schedule": {"cron": "5 4 * * *", "date": {"type": "custom_cron", "cron": "5 4 * * *"},
                 "time": {"type": "at_exact_hours", "hours": [4]}},
    "execution": {"timeout_seconds": 60},
    "generate_docs": True,
    "job_type": "scheduled",
    # Clients send null for fields that they do not set, and fields that only other versions know.
    "id": None, "dbt_version": None, "deferring_job_definition_id": None, "description": None,
    "something_new": {"x": 1},
}  # fmt: skip


def names(cloud: RunningCloud, **query: Any) -> list[str]:
    return [job["name"] for job in cloud.get("jobs/", **query)]


def test_created_job_has_given_fields_and_defaults(cloud: RunningCloud) -> None:
    created = cloud.post("jobs/", NEW_JOB)
    assert created["id"] == 100001
    assert cloud.get("jobs/100001/") == created
    for field in ("name", "execute_steps", "settings", "execution", "generate_docs", "job_type"):
        assert created[field] == NEW_JOB[field]
    assert created["triggers"]["schedule"] is True
    assert created["triggers"]["on_merge"] is False
    assert created["schedule"]["cron"] == "5 4 * * *"
    assert created["schedule"]["date"] == {"type": "custom_cron", "cron": "5 4 * * *"}
    assert (created["state"], created["description"], created["dbt_version"]) == (1, "", None)
    assert cloud.post("jobs/", NEW_JOB)["id"] == 100002


def test_update_changes_only_given_fields(cloud: RunningCloud) -> None:
    cloud.post("jobs/", NEW_JOB | {"dbt_version": "1.10.0"})
    updated = cloud.post("jobs/100001/", {"id": 100001, "name": "Renamed", "dbt_version": None})
    assert (updated["name"], updated["dbt_version"]) == ("Renamed", None)
    assert updated["execute_steps"] == NEW_JOB["execute_steps"]
    assert updated["updated_at"] > updated["created_at"]
    assert cloud.get("jobs/100001/") == updated


def test_update_to_state_2_deletes_the_job(cloud: RunningCloud) -> None:
    job = cloud.get("jobs/102/")
    assert cloud.post("jobs/102/", job | {"state": 2})["state"] == 2
    assert cloud.client.get("jobs/102/").status_code == 404


def test_update_of_one_setting_keeps_the_others(cloud: RunningCloud) -> None:
    cloud.post("jobs/", NEW_JOB)
    updated = cloud.post("jobs/100001/", {"id": 100001, "settings": {"threads": 9}})
    assert updated["settings"] == {"threads": 9, "target_name": "nightly"}


def test_job_can_be_created_without_steps(cloud: RunningCloud) -> None:
    # As dagster-dbt does.
    job = cloud.post("jobs/", {"name": "x", "environment_id": 1, "job_type": "other"})
    assert job["execute_steps"] == []


@pytest.mark.parametrize("body", [{"id": 101, "name": "x"}, {"name": "x"}, {"id": None}])
def test_update_must_repeat_the_id(cloud: RunningCloud, body: dict[str, Any]) -> None:
    answer = cloud.client.post("jobs/102/", json=body)
    assert answer.status_code == 400
    assert answer.json()["data"] == {"id": "The provided id does not match."}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": None}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 256}, "name"),
        ({"environment_id": 7}, "environment_id"),
        ({"environment_id": "one"}, "environment_id"),
        ({"project_id": 2}, "project_id"),
        ({"account_id": 2}, "account_id"),
        ({"execute_steps": "dbt build"}, "execute_steps"),
        ({"execute_steps": ["rm -rf /"]}, "execute_steps"),
        ({"settings": {"threads": 0}}, "settings"),
        ({"schedule": {"date": {"type": "sometimes"}}}, "schedule"),
        ({"execution": {"timeout_seconds": -1}}, "execution"),
    ],
)
def test_invalid_job_is_400_and_changes_nothing(
    cloud: RunningCloud, change: dict[str, Any], field: str
) -> None:
    before = cloud.get("jobs/")
    created = cloud.client.post("jobs/", json=NEW_JOB | change)
    updated = cloud.client.post("jobs/102/", json={"id": 102} | change)
    assert created.status_code == 400
    assert set(created.json()["data"]) == {field}
    # In an update, null keeps the name.
    if change != {"name": None}:
        assert updated.status_code == 400
        assert cloud.get("jobs/") == before


def test_deleted_job_is_404_and_listed_only_by_state(cloud: RunningCloud) -> None:
    answer = cloud.client.delete("jobs/102")
    assert (answer.status_code, answer.json()["data"]["state"]) == (200, 2)
    assert names(cloud) == ["Refresh customers", "Build jaffle shop"]
    for state, count in (("active", 2), ("1", 2), ("deleted", 1), (2, 1), ("all", 3)):
        assert len(names(cloud, state=state)) == count, state
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "run/"), ("POST", "rerun/"), ("POST", "")):
        answer = cloud.client.request(method, f"jobs/102/{path}", json={"cause": "x", "id": 102})
        assert answer.status_code == 404, (method, path)


def test_delete_cancels_active_runs_and_keeps_history(cloud: RunningCloud) -> None:
    done, queued = cloud.add_run(job_id=102), cloud.add_run(RunStatus.QUEUED, job_id=102)
    other = cloud.add_run(RunStatus.QUEUED, job_id=101)
    assert cloud.client.delete("jobs/102/").status_code == 200
    assert cloud.get(f"runs/{queued}/")["status_humanized"] == "Cancelled"
    assert cloud.get(f"runs/{other}/")["status_humanized"] == "Queued"
    run = cloud.get(f"runs/{done}/", include_related="job")
    assert (run["status_humanized"], run["job"]["state"]) == ("Success", 2)


def test_job_includes_related_objects_on_request(cloud: RunningCloud) -> None:
    done, running = cloud.add_run(), cloud.add_run(RunStatus.RUNNING)
    related = "most_recent_run,most_recent_completed_run,environment,project,account"
    for job in (cloud.get("jobs/101/", include_related=related),
                cloud.get("jobs/", include_related=related, pk=101)[0]):  # fmt: skip
        assert (job["most_recent_run"]["id"], job["most_recent_completed_run"]["id"]) == (running, done)
        assert [job[name]["id"] for name in ("environment", "project", "account")] == [1, 1, 1]
    assert cloud.get("jobs/101/")["most_recent_run"] is None
    assert cloud.get("jobs/102/", include_related=related)["most_recent_run"] is None


def restarted(tmp_path: Path, account: Path, declaration: dict[str, Any] | None = None) -> Any:
    if declaration:
        account.write_text(yaml.safe_dump(declaration))
    return running_cloud(tmp_path / "data", account)


def test_client_changes_are_kept_until_the_file_changes(tmp_path: Path, tiny_account: Path) -> None:
    declaration = yaml.safe_load(tiny_account.read_text())
    with restarted(tmp_path, tiny_account) as cloud:
        cloud.post(f"jobs/{QUICK}/", {"id": QUICK, "name": "renamed"})
        cloud.client.delete("jobs/2/")
        assert cloud.post("jobs/", NEW_JOB)["id"] == 100001
    with restarted(tmp_path, tiny_account) as cloud:
        assert names(cloud) == ["renamed", "broken", "endless", "Nightly"]
    declaration["jobs"][0]["description"] = "changed in the file"
    declaration["jobs"] = declaration["jobs"][:3]
    with restarted(tmp_path, tiny_account, declaration) as cloud:
        # Job 1 changed in the file, job 4 was removed from it, and the client's own job is kept.
        assert names(cloud) == ["one", "broken", "Nightly"]
    declaration["account"]["id"] = 7
    with restarted(tmp_path, tiny_account, declaration) as cloud:
        jobs = cloud.client.get(f"{cloud.url}/api/v2/accounts/7/jobs/").json()["data"]
        assert {job["account_id"] for job in jobs} == {7}


def test_jobs_of_a_removed_environment_are_deleted(tmp_path: Path, tiny_account: Path) -> None:
    declaration = yaml.safe_load(tiny_account.read_text())
    with restarted(tmp_path, tiny_account) as cloud:
        cloud.post("jobs/", NEW_JOB | {"environment_id": 2})
    del declaration["environments"][1], declaration["jobs"][3]
    with restarted(tmp_path, tiny_account, declaration) as cloud:
        assert names(cloud) == ["one", "endless", "broken"]
        assert names(cloud, state="deleted") == ["endless", "Nightly"]


@pytest.mark.end_to_end
def test_created_job_runs_its_definition(tmp_path: Path, tiny_account: Path) -> None:
    with running_cloud(tmp_path / "data", tiny_account) as cloud:
        steps = ["dbt run --select one"]
        job = cloud.post("jobs/", NEW_JOB | {"execute_steps": steps, "generate_docs": False})
        run = cloud.wait(cloud.trigger(job["id"])["id"])
        assert run["status_humanized"] == "Success"
        assert [step["run_step_command"]["dbt_command"] for step in run["run_steps"][3:]] == steps
        results = cloud.client.get(f"jobs/{job['id']}/artifacts/run_results.json").json()
        assert results["metadata"]["env"]["DBT_CLOUD_JOB_ID"] == str(job["id"])
        assert "nightly" in run["run_steps"][1]["logs"]
        assert cloud.client.get(f"jobs/{job['id']}/artifacts/none.json").status_code == 404
        assert cloud.client.get(f"jobs/{QUICK}/artifacts/run_results.json").status_code == 404
        failed = f"jobs/{job['id']}/artifacts/run_results.json?status=20"
        assert cloud.client.get(failed).status_code == 404

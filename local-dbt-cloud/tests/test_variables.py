"""Environment variables of a project, an environment and a job."""

from pathlib import Path
from typing import Any

import pytest

from running_cloud import RunningCloud, running_cloud
from tiny_account import QUICK


def url(cloud: RunningCloud, path: str = "", project: int = 1) -> str:
    return f"{cloud.url}/api/v3/accounts/1/projects/{project}/environment-variables/{path}"


def set_variable(
    cloud: RunningCloud, name: str, value: str, scope: str = "job", **ids: int
) -> dict[str, Any]:
    body = {"name": name, "type": scope, "raw_value": value, "account_id": 1, "project_id": 1, **ids}
    return cloud.post(url(cloud), body)


def job_variables(cloud: RunningCloud, job_id: int) -> dict[str, Any]:
    return cloud.get(url(cloud, "job/"), job_definition_id=job_id)


def test_job_sees_the_values_of_all_scopes(cloud: RunningCloud) -> None:
    project = set_variable(cloud, "DBT_A", "of the project", "project")
    environment = set_variable(cloud, "DBT_A", "of the environment", "environment", environment_id=1)
    job = set_variable(cloud, "DBT_A", "of the job", job_definition_id=101)
    assert job_variables(cloud, 101) == {
        "DBT_A": {
            "project": {"id": project["id"], "value": "of the project"},
            "environment": {"id": environment["id"], "value": "of the environment"},
            "job": {"id": job["id"], "value": "of the job"},
        }
    }
    assert set(job_variables(cloud, 102)["DBT_A"]) == {"project", "environment"}
    by_environment = cloud.get(url(cloud, "environment/"))
    assert by_environment["environments"] == ["project", "Production"]
    assert {scope: value["id"] for scope, value in by_environment["variables"]["DBT_A"].items()} == {
        "project": project["id"],
        "Production": environment["id"],
    }


def test_values_are_updated_and_deleted(cloud: RunningCloud) -> None:
    variable = set_variable(cloud, "DBT_A", "old", job_definition_id=101)
    body = {"name": "DBT_A", "type": "job", "job_definition_id": 101, "raw_value": "new"}
    assert cloud.post(url(cloud, f"{variable['id']}/"), body)["display_value"] == "new"
    answer = cloud.client.delete(url(cloud, f"{variable['id']}/"))
    assert (answer.status_code, answer.json()["data"]["state"]) == (200, 2)
    assert job_variables(cloud, 101) == {}
    assert cloud.client.delete(url(cloud, f"{variable['id']}/")).status_code == 404


def test_secrets_are_masked(cloud: RunningCloud) -> None:
    made = set_variable(cloud, "DBT_ENV_SECRET_KEY", "hush", job_definition_id=101)
    assert "hush" not in f"{made} {job_variables(cloud, 101)}"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "PATH"}, "name"),
        ({"name": "DBT_a"}, "name"),
        ({"name": "DBT_PROJECT_DIR"}, "name"),
        ({"name": "DBT_ENGINE_TARGET_PATH"}, "name"),
        ({"type": "user"}, "type"),
        ({"raw_value": None}, "raw_value"),
        ({"raw_value": "with \0"}, "raw_value"),
        ({"job_definition_id": 7}, "job_definition_id"),
        ({"type": "environment"}, "environment_id"),
        ({"name": "DBT_ENV_SECRET_A", "raw_value": "**********"}, "raw_value"),
    ],
)
def test_invalid_variable_is_rejected(cloud: RunningCloud, change: dict[str, Any], field: str) -> None:
    body = {"name": "DBT_A", "type": "job", "job_definition_id": 101, "raw_value": "x"}
    answer = cloud.client.post(url(cloud), json=body | change)
    assert answer.status_code == 400
    assert set(answer.json()["data"]) == {field}
    assert job_variables(cloud, 101) == {}


def test_value_for_an_object_of_another_project_is_rejected(cloud: RunningCloud) -> None:
    project = cloud.post(f"{cloud.url}/api/v3/accounts/1/projects/", {"name": "Other"})["id"]
    body = {"name": "DBT_A", "raw_value": "x", "job_definition_id": 101, "environment_id": 1}
    for scope, field in (("job", "job_definition_id"), ("environment", "environment_id")):
        answer = cloud.client.post(url(cloud, project=project), json=body | {"type": scope})
        assert (answer.status_code, set(answer.json()["data"])) == (400, {field})
    # A value of the project ignores both IDs.
    created = cloud.post(url(cloud, project=project), body | {"type": "project"})
    assert (created["environment_id"], created["job_definition_id"]) == (None, None)
    listed = cloud.get(url(cloud, "environment/", project=project))["variables"]
    assert listed == {"DBT_A": {"project": {"id": created["id"], "value": "x"}}}


def test_second_value_of_a_scope_is_rejected(cloud: RunningCloud) -> None:
    set_variable(cloud, "DBT_A", "x", "project")
    set_variable(cloud, "DBT_A", "x", "environment", environment_id=1)
    other = set_variable(cloud, "DBT_B", "x", "project")
    same = {"name": "DBT_A", "type": "project", "raw_value": "y"}
    for path in ("", f"{other['id']}/"):
        answer = cloud.client.post(url(cloud, path), json=same)
        assert (answer.status_code, set(answer.json()["data"])) == (400, {"name"})
    assert values(cloud)["project"]["value"] == "x"


def test_values_of_environments_with_equal_names_can_be_listed(cloud: RunningCloud) -> None:
    set_variable(cloud, "DBT_A", "x", "environment", environment_id=1)
    path = f"{cloud.url}/api/v3/accounts/1/projects/1/environments/"
    cloud.post(path, {"name": "Production"})
    assert values(cloud) == {}


def test_variables_of_a_missing_project_or_job_are_404(cloud: RunningCloud) -> None:
    body = {"name": "DBT_A", "type": "project", "raw_value": "x"}
    assert cloud.client.post(url(cloud, project=2), json=body).status_code == 404
    assert cloud.client.get(url(cloud, "job/?job_definition_id=7")).status_code == 404
    assert cloud.client.get(url(cloud, "job/?job_definition_id=101", project=2)).status_code == 404


@pytest.mark.end_to_end
def test_dbt_sees_the_value_of_the_highest_precedence(tmp_path: Path, tiny_account: Path) -> None:
    model = tmp_path / "tiny" / "models" / "one.sql"
    with running_cloud(tmp_path / "data", tiny_account) as cloud:
        model.write_text("select '{{ env_var('DBT_A') }}' as a, '{{ env_var('DBT_B') }}' as b")
        set_variable(cloud, "DBT_A", "job", job_definition_id=QUICK)
        set_variable(cloud, "DBT_A", "project", "project")
        set_variable(cloud, "DBT_B", "environment", "environment", environment_id=1)
        set_variable(cloud, "DBT_CLOUD_RUN_ID", "666", "project")
        run = cloud.wait(cloud.trigger(QUICK)["id"])
        assert run["status_humanized"] == "Success"
        results = cloud.client.get(f"runs/{run['id']}/artifacts/run_results.json").json()
        assert results["metadata"]["env"]["DBT_CLOUD_RUN_ID"] == str(run["id"])
        path = f"runs/{run['id']}/artifacts/compiled/tiny/models/one.sql"
        assert cloud.client.get(path).text == "select 'job' as a, 'environment' as b"


def bulk(cloud: RunningCloud, method: str, body: dict[str, Any]) -> Any:
    return cloud.client.request(method, url(cloud, "bulk/"), json=body)


def values(cloud: RunningCloud, name: str = "DBT_A") -> dict[str, Any]:
    return cloud.get(url(cloud, "environment/"))["variables"].get(name, {})


def test_bulk_creates_changes_renames_and_deletes_values(cloud: RunningCloud) -> None:
    created = bulk(cloud, "POST", {"env_var": {"new_name": "DBT_A", "project": "p", "Production": "e"}})
    assert len(created.json()["data"]["new_var_ids"]) == 2
    first = values(cloud)
    assert {scope: one["value"] for scope, one in first.items()} == {"project": "p", "Production": "e"}
    # The Terraform provider names existing values by ID, and deletes them with an empty one.
    by_id = {str(first["project"]["id"]): "new", str(first["Production"]["id"]): ""}
    changed = bulk(cloud, "PUT", {"env_vars": {"name": "DBT_A", "new_name": "DBT_B", **by_id}}).json()["data"]
    assert changed["deleted_var_ids"] == [first["Production"]["id"]]
    assert values(cloud) == {}
    assert values(cloud, "DBT_B") == {"project": {"id": first["project"]["id"], "value": "new"}}
    assert bulk(cloud, "DELETE", {"name": "DBT_B"}).status_code == 200
    assert values(cloud, "DBT_B") == {}
    assert bulk(cloud, "DELETE", {"name": "DBT_B"}).status_code == 404


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"new_name": "DBT_A"}, "new_name"),
        ({"new_name": "DBT_ENV_SECRET_B"}, "new_name"),
        ({"project": "**********"}, "project"),
    ],
)
def test_bulk_neither_reveals_nor_overwrites_a_secret(
    cloud: RunningCloud, change: dict[str, Any], field: str
) -> None:
    for name in ("DBT_ENV_SECRET_A", "DBT_ENV_SECRET_B"):
        bulk(cloud, "POST", {"env_var": {"new_name": name, "project": name}})
    answer = bulk(cloud, "PUT", {"env_vars": {"name": "DBT_ENV_SECRET_A", **change}})
    assert (answer.status_code, set(answer.json()["data"])) == (400, {field})
    assert values(cloud, "DBT_ENV_SECRET_A")["project"]["value"] == "**********"
    assert values(cloud) == {}


def test_bulk_with_an_unknown_environment_changes_nothing(cloud: RunningCloud) -> None:
    answer = bulk(cloud, "POST", {"env_var": {"new_name": "DBT_A", "project": "p", "Nowhere": "e"}})
    assert (answer.status_code, set(answer.json()["data"])) == (400, {"Nowhere"})
    assert values(cloud) == {}


def test_ids_of_deleted_values_are_not_reused(cloud: RunningCloud) -> None:
    first = set_variable(cloud, "DBT_A", "x", job_definition_id=101)
    cloud.client.delete(url(cloud, f"{first['id']}/"))
    assert set_variable(cloud, "DBT_A", "x", job_definition_id=101)["id"] > first["id"]

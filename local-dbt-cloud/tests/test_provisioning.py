"""Projects, environments, connections, credentials and repositories that clients provision."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from local_dbt_cloud.run_status import RunStatus
from running_cloud import RunningCloud, ids, running_cloud
from tiny_account import OTHER_ENVIRONMENT, QUICK

PROJECT = {"name": "Shop", "description": "", "state": 1, "account_id": 1, "type": 0}
REMOTE_URL = "git@github.com:acme/tiny.git"
POSTGRES = {"name": "W", "adapter_version": "postgres_v0",
            "config": {"hostname": "h", "port": 5432, "dbname": "d"}}  # fmt: skip
NESTED = json.loads('{"x": ' * 300 + "1" + "}" * 300)


def v3(cloud: RunningCloud, path: str) -> str:
    return f"{cloud.url}/api/v3/accounts/1/{path}"


def create(cloud: RunningCloud, path: str, **body: Any) -> dict[str, Any]:
    return cloud.post(v3(cloud, path), body)


def create_project(cloud: RunningCloud, remote_url: str = REMOTE_URL, **fields: Any) -> int:
    """Create a project with a repository, and return its ID."""
    project = create(cloud, "projects/", **PROJECT)
    path = f"projects/{project['id']}/"
    repository = create(cloud, f"{path}repositories/", remote_url=remote_url, state=1)
    create(cloud, path, **project | {"repository_id": repository["id"]} | fields)
    return project["id"]


def create_environment(cloud: RunningCloud, project_id: int, **fields: Any) -> dict[str, Any]:
    body = {"name": "Production", "type": "deployment", "dbt_version": "latest", "state": 1, **fields}
    return create(cloud, f"projects/{project_id}/environments/", **body)


def create_job(cloud: RunningCloud, environment_id: int, **fields: Any) -> int:
    body = {"name": "x", "environment_id": environment_id, "execute_steps": ["dbt run"], **fields}
    return cloud.post("jobs/", body)["id"]


def code(cloud: RunningCloud, method: str, path: str, body: Any = None) -> int:
    return cloud.client.request(method, v3(cloud, path), json=body).status_code


def test_project_is_created_updated_and_deleted(cloud: RunningCloud) -> None:
    project = create(cloud, "projects/", **PROJECT)
    path = f"projects/{project['id']}/"
    assert (project["id"], project["name"], project["repository_id"]) == (100001, "Shop", None)
    updated = create(cloud, path, **project | {"name": "Store", "description": "New"})
    assert (updated["name"], updated["description"]) == ("Store", "New")
    assert cloud.get(v3(cloud, path)) == updated
    assert cloud.client.delete(v3(cloud, path)).json()["data"]["state"] == 2
    assert code(cloud, "GET", path) == 404
    assert ids(cloud.get(v3(cloud, "projects/"))) == [1]
    assert ids(cloud.get(v3(cloud, "projects/"), state="deleted")) == [100001]
    # IDs are never reused.
    assert create(cloud, "projects/", **PROJECT)["id"] == 100002


def test_state_2_deletes_as_the_terraform_provider_does(cloud: RunningCloud) -> None:
    project = create(cloud, "projects/", **PROJECT)
    path = f"projects/{project['id']}/"
    assert create(cloud, path, **project | {"state": 2})["state"] == 2
    assert code(cloud, "GET", path) == 404


def test_post_resets_omitted_fields_and_patch_keeps_them(cloud: RunningCloud) -> None:
    project_id = create_project(cloud)
    connection = create(cloud, "connections/", **POSTGRES)
    environment = create_environment(cloud, project_id, connection_id=connection["id"])
    path = f"projects/{project_id}/environments/{environment['id']}/"
    assert environment["connection_id"] == connection["id"]
    assert create(cloud, path, name="Renamed")["connection_id"] is None
    patched = cloud.client.patch(v3(cloud, f"connections/{connection['id']}/"), json={"config": {"port": 1}})
    assert patched.json()["data"]["config"] == {"hostname": "h", "port": 1, "dbname": "d"}
    assert patched.json()["data"]["name"] == "W"


def test_delete_of_a_project_deletes_what_belongs_to_it(cloud: RunningCloud) -> None:
    project_id = create_project(cloud)
    environment = create_environment(cloud, project_id)
    cloud.pause()
    job_id = create_job(cloud, environment["id"])
    run = cloud.trigger(job_id)
    cloud.client.delete(v3(cloud, f"projects/{project_id}/"))
    assert code(cloud, "GET", f"environments/{environment['id']}/") == 404
    assert cloud.client.get(f"jobs/{job_id}/").status_code == 404
    assert cloud.get(f"runs/{run['id']}/", include_related="environment")["status_humanized"] == "Cancelled"
    # The declared project is not affected.
    assert ids(cloud.get("jobs/", project_id=1)) == [100, 101, 102]


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("projects/", {}, "name"),
        ("projects/1/", {"name": "x", "repository_id": 9}, "repository_id"),
        ("projects/1/", {"name": "x", "id": 2}, "id"),
        ("projects/1/environments/", {"name": "x", "connection_id": 9}, "connection_id"),
        ("projects/1/environments/", {"name": "x", "type": "sandbox"}, "type"),
        ("projects/1/repositories/", {}, "remote_url"),
        ("projects/1/credentials/", {}, "type"),
        ("connections/", {"name": "x"}, "adapter_version"),
        ("connections/", {"name": "x", "adapter_version": "x", "config": NESTED}, "body"),
        ("projects/1/extended-attributes/", {"extended_attributes": NESTED}, "body"),
    ],
)
def test_invalid_object_is_rejected(cloud: RunningCloud, path: str, body: Any, field: str) -> None:
    answer = cloud.client.post(v3(cloud, path), json=body)
    assert answer.status_code == 400
    assert set(answer.json()["data"]) == {field}


def test_duckdb_connection_cannot_leave_the_data_directory(cloud: RunningCloud) -> None:
    body = {"name": "x", "adapter_version": "duckdb_v0", "config": {"database": "../x.duckdb"}}
    assert code(cloud, "POST", "connections/", body) == 400


def test_object_of_another_project_is_404(cloud: RunningCloud) -> None:
    own = f"projects/{create(cloud, 'projects/', **PROJECT)['id']}/"
    for path in (f"{own}environments/1/", f"{own}repositories/1/", f"{own}credentials/1/",
                 "projects/9/environments/", "projects/x/environments/",
                 f"projects/{'1' * 5000}/environments/"):  # fmt: skip
        assert code(cloud, "GET", path) == 404, path
    answer = cloud.client.post(v3(cloud, own), json={"name": "x", "repository_id": 1})
    assert answer.status_code == 400


def test_secrets_are_accepted_but_not_stored(cloud: RunningCloud) -> None:
    secrets: list[tuple[str, dict[str, Any]]] = [
        ("projects/1/credentials/", {"type": "snowflake", "user": "u", "password": "hush"}),
        ("projects/1/credentials/", {"type": "x", "api_key": "hush", "secret_key": "hush", "pat": "hush",
                                     "passwd": "hush", "private_key_pem": "hush",
                                     "client_secret_value": "hush"}),
        ("projects/1/credentials/", {"type": "snowflake", "private_key": "hush", "schema": "s"}),
        ("projects/1/credentials/", {
            "type": "adapter",
            "credential_details": {"fields": {
                "token": {"metadata": {"encrypt": True}, "value": "hush"},
                "password": {"value": "hush"},
                "schema": {"metadata": {"encrypt": False}, "value": "analytics"},
            }},
        }),
        ("connections/", {"name": "x", "adapter_version": "snowflake_v0",
                          "config": {"account": "a", "database": "d", "warehouse": "w",
                                     "oauth_client_secret": "hush"}}),
    ]  # fmt: skip
    for path, body in secrets:
        made = create(cloud, path, **body)
        assert "hush" not in str(made)
        assert "hush" not in str(cloud.get(v3(cloud, f"{path}{made['id']}/")))
    details = cloud.get(v3(cloud, "projects/1/credentials/"))[-1]["unencrypted_credential_details"]
    assert details == {"schema": "analytics"}
    for file in cloud.service.data.root.glob("state.sqlite*"):
        assert b"hush" not in file.read_bytes()
    public = {"type": "x", "private_key_id": "1", "access_key_id": "2", "token_uri": "https://x"}
    assert create(cloud, "projects/1/credentials/", **public).items() >= public.items()


@pytest.mark.parametrize(
    ("remote_url", "stored"),
    [
        ("https://oauth2:hush@gitlab.com/acme/tiny.git", "https://gitlab.com/acme/tiny.git"),
        ("https://hush@github.com/acme/tiny", "https://github.com/acme/tiny"),
        ("https://acme:hush@dev.azure.com/acme/_git/tiny", "https://dev.azure.com/acme/_git/tiny"),
        ("https://acme@dev.azure.com/acme/_git/tiny", "https://acme@dev.azure.com/acme/_git/tiny"),
        ("ssh://git@github.com/acme/tiny", "ssh://git@github.com/acme/tiny"),
    ],
)
def test_credentials_in_the_address_of_a_repository_are_not_stored(
    cloud: RunningCloud, remote_url: str, stored: str
) -> None:
    assert create(cloud, "projects/1/repositories/", remote_url=remote_url)["remote_url"] == stored


def test_connection_of_an_environment_cannot_be_deleted(cloud: RunningCloud) -> None:
    connection = create(cloud, "connections/", **POSTGRES)
    path = f"connections/{connection['id']}/"
    environment = create_environment(cloud, 1, connection_id=connection["id"])
    assert code(cloud, "DELETE", path) == code(cloud, "PATCH", path, {"state": 2}) == 400
    create(cloud, f"projects/1/environments/{environment['id']}/", name="Without connection")
    assert code(cloud, "DELETE", path) == 200


def test_account_declares_a_connection_per_database(tmp_path: Path, tiny_account: Path) -> None:
    with running_cloud(tmp_path / "data", tiny_account) as cloud:
        connections = cloud.get(v3(cloud, "connections/"))
        assert [(one["name"], one["config"]) for one in connections] == [("DuckDB", None), ("DuckDB", None)]
        detail = cloud.get(v3(cloud, "connections/1/"))
        assert (detail["adapter_version"], detail["config"]) == ("duckdb_v0", {"database": "1.duckdb"})
        assert [one["environment__count"] for one in connections] == [1, 1]
        (first, second) = cloud.get(v3(cloud, "projects/1/connections/"))
        assert (first["project_id"], second["details"]) == (1, {"database": "2.duckdb"})
        assert cloud.get(v3(cloud, "projects/1/connections/2/")) == second


def test_related_objects_are_included_on_request(cloud: RunningCloud) -> None:
    related = "environments,repository,docs_job,connection,group_permissions"
    (project,) = cloud.get(v3(cloud, "projects/"), include_related=related)
    assert [one["name"] for one in project["environments"]] == ["Production"]
    assert project["repository"]["remote_url"].startswith("file:///")
    assert (project["docs_job"], project["group_permissions"]) == (None, [])
    path = v3(cloud, "projects/1/environments/1/")
    environment = cloud.get(path, include_related="[project,connection,credentials,repository]")
    assert environment["project"]["name"] == "Jaffle Shop"
    assert environment["connection"]["details"] == {"database": "jaffle_shop.duckdb"}
    assert environment["credentials"]["schema"] == "prod"
    assert environment["repository"]["id"] == 1
    assert cloud.get(path)["project"] is None


def test_lists_of_unsupported_objects_are_empty_and_say_so(cloud: RunningCloud) -> None:
    for path in ("groups", "users", "service-tokens", "license-maps", "webhooks/subscriptions"):
        answer = cloud.client.get(v3(cloud, f"{path}/")).json()
        assert answer["data"] == []
        assert "this list is always empty" in answer["status"]["user_message"]
        assert code(cloud, "GET", f"{path}/1/") == 404
        refused = cloud.client.post(v3(cloud, f"{path}/"), json={})
        assert refused.status_code == 405
        assert "README lists the supported operations" in refused.json()["status"]["user_message"]
    assert cloud.get("notifications/") == []


def test_whoami_names_the_user_of_the_token(cloud: RunningCloud) -> None:
    assert cloud.get(f"{cloud.url}/api/v2/whoami/")["user"]["id"] == 1


def test_account_file_overrides_clients_only_where_it_changed(tmp_path: Path, tiny_account: Path) -> None:
    declaration = yaml.safe_load(tiny_account.read_text())
    with running_cloud(tmp_path / "data", tiny_account) as cloud:
        create(cloud, "projects/1/environments/1/", name="Renamed by a client")
        project_id = create_project(cloud)
        cloud.client.delete(v3(cloud, "projects/1/environments/2/"))
    with running_cloud(tmp_path / "data", tiny_account) as cloud:
        assert [one["name"] for one in cloud.get("environments/")] == ["Renamed by a client"]
        assert ids(cloud.get("projects/")) == [1, project_id]
    declaration["environments"][0]["name"] = "Renamed in the file"
    tiny_account.write_text(yaml.safe_dump(declaration))
    with running_cloud(tmp_path / "data", tiny_account) as cloud:
        assert [one["name"] for one in cloud.get("environments/")] == ["Renamed in the file"]
    declaration["projects"][0] |= {"id": 5, "name": "Another"}
    for environment in declaration["environments"]:
        environment["project_id"] = 5
    tiny_account.write_text(yaml.safe_dump(declaration))
    with running_cloud(tmp_path / "data", tiny_account) as cloud:
        assert ids(cloud.get("projects/")) == [5, project_id]


def test_entries_added_to_the_file_do_not_replace_what_clients_created(
    tmp_path: Path, tiny_account: Path
) -> None:
    declaration = yaml.safe_load(tiny_account.read_text())

    def of_client(cloud: RunningCloud, project_id: int) -> list[Any]:
        kinds = ("", "repositories/", "credentials/", "environments/", "connections/")
        return [cloud.get(v3(cloud, f"projects/{project_id}/{kind}")) for kind in kinds]

    with running_cloud(tmp_path / "data", tiny_account) as cloud:
        project_id = create_project(cloud)
        path = f"projects/{project_id}/"
        credentials = create(cloud, f"{path}credentials/", type="snowflake", schema="s")
        connection = create(cloud, "connections/", **POSTGRES)
        environment = create_environment(
            cloud, project_id, connection_id=connection["id"], credentials_id=credentials["id"]
        )
        job_id = create_job(cloud, environment["id"])
        before = of_client(cloud, project_id)
    for kind in ("projects", "environments", "jobs"):
        last = declaration[kind][-1]
        declaration[kind].append(last | {"id": last["id"] + 1, "database": "new.duckdb"})
    for kind in ("projects", "jobs"):
        del declaration[kind][-1]["database"]
    tiny_account.write_text(yaml.safe_dump(declaration))
    with running_cloud(tmp_path / "data", tiny_account) as cloud:
        assert of_client(cloud, project_id) == before
        assert cloud.get(f"jobs/{job_id}/")["environment_id"] == environment["id"]
        assert len(cloud.get(v3(cloud, "connections/"))) == 4


@pytest.mark.end_to_end
def test_projects_with_one_address_run_their_own_directories(tmp_path: Path, tiny_account: Path) -> None:
    shutil.copytree(tmp_path / "tiny", tmp_path / "other")
    declaration = yaml.safe_load(tiny_account.read_text())
    own = declaration["projects"][0] | {"remote_url": REMOTE_URL}
    other = {"id": 2, "name": "Other", "directory": "other", "remote_url": "https://github.com/Acme/Tiny"}
    declaration["projects"] = [own, other]
    declaration["environments"][1]["project_id"] = 2
    tiny_account.write_text(yaml.safe_dump(declaration))
    with running_cloud(tmp_path / "data", tiny_account) as cloud:
        for job_id, directory in ((QUICK, "tiny"), (OTHER_ENVIRONMENT, "other")):
            run = cloud.wait(cloud.trigger(job_id, steps_override=["dbt parse"])["id"])
            assert run["run_steps"][0]["logs"] == f"Copied {tmp_path / directory}.\n"


def test_pages_show_provisioned_projects(cloud: RunningCloud) -> None:
    project_id = create_project(cloud, description="x")
    job_id = create_job(cloud, create_environment(cloud, project_id)["id"])
    path = f"{cloud.pages_url}/deploy/1/projects/{project_id}"
    assert "Production" in cloud.client.get(f"{path}/jobs/{job_id}").text
    assert cloud.client.get(f"{path}/runs/").status_code == 200


def test_reset_restores_what_the_file_declares(cloud: RunningCloud) -> None:
    create_project(cloud)
    create(cloud, "projects/1/environments/1/", name="Renamed")
    cloud.reset()
    assert ids(cloud.get("projects/")) == [1]
    assert cloud.get("environments/1/")["name"] == "Production"


@pytest.mark.parametrize(
    ("fields", "remote_url", "message"),
    [
        ({"repository_id": None}, REMOTE_URL, "Project 100001 has no repository"),
        ({}, "file:///etc", "Repository file:///etc is not on this machine"),
        ({"dbt_project_subdirectory": "../.."}, REMOTE_URL, "is outside the repository"),
        ({"dbt_project_subdirectory": "models"}, REMOTE_URL, "has no dbt_project.yml"),
    ],
)
def test_run_of_a_project_without_code_fails_at_the_clone(
    tmp_path: Path, tiny_account: Path, fields: dict[str, Any], remote_url: str, message: str
) -> None:
    declare_remote(tiny_account)
    with running_cloud(tmp_path / "data", tiny_account) as cloud:
        environment = create_environment(cloud, create_project(cloud, remote_url, **fields))
        run = cloud.wait(cloud.trigger(create_job(cloud, environment["id"]))["id"])
        assert run["status"] == RunStatus.ERROR
        assert message in run["status_message"]
        assert [step["name"] for step in run["run_steps"]] == ["Clone git repository"]


def declare_remote(account: Path, **project: Any) -> None:
    """Declare that the tiny project is a checkout of the repository."""
    declaration = yaml.safe_load(account.read_text())
    declaration["projects"][0] |= {"remote_url": REMOTE_URL, **project}
    account.write_text(yaml.safe_dump(declaration))


@pytest.mark.end_to_end
def test_provisioned_job_runs_the_code_of_its_repository(tmp_path: Path, tiny_account: Path) -> None:
    # The dbt project is in a subdirectory of a git checkout.
    repository = tmp_path / "repository"
    repository.mkdir()
    (tmp_path / "tiny").rename(repository / "transform")
    git = ["git", "-C", str(repository), "-c", "user.name=x", "-c", "user.email=x@x"]
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *arguments], check=True)
    sha = subprocess.check_output([*git, "rev-parse", "HEAD"], text=True).strip()
    declare_remote(tiny_account, directory="repository", dbt_project_subdirectory="transform")
    with running_cloud(tmp_path / "data", tiny_account) as cloud:
        # The address may have another form.
        project_id = create_project(
            cloud, "https://github.com/acme/tiny", dbt_project_subdirectory="transform"
        )
        credentials = create(cloud, f"projects/{project_id}/credentials/", type="postgres",
                             default_schema="analytics", password="hush")  # fmt: skip
        connection = create(cloud, "connections/", name="W", adapter_version="postgres_v0",
                            config={"hostname": "h", "port": 1, "dbname": "d"})  # fmt: skip
        environment = create_environment(
            cloud, project_id, credentials_id=credentials["id"], connection_id=connection["id"]
        )
        job_id = create_job(cloud, environment["id"], execute_steps=["dbt run --select one"])
        run = cloud.wait(cloud.trigger(job_id)["id"])
        assert (run["status_humanized"], run["git_sha"], run["dbt_version"]) == ("Success", sha, "latest")
        assert "schema: analytics" in run["run_steps"][1]["logs"]
        assert (cloud.service.data.root / f"environment_{environment['id']}.duckdb").is_file()

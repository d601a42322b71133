"""Responses of the API: envelope, errors, lists, objects. No run is executed."""

import re
from datetime import timedelta
from typing import Any

import pytest

from local_dbt_cloud.api import create_api
from local_dbt_cloud.database import utc_now
from local_dbt_cloud.run_status import RunStatus
from routes import endpoints
from running_cloud import RunningCloud, ids

RUN_TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}\+00:00"


def test_object_is_wrapped_in_an_envelope(cloud: RunningCloud) -> None:
    assert cloud.client.get("jobs/101/").json()["status"] == {
        "code": 200,
        "is_success": True,
        "user_message": "Success!",
        "developer_message": "",
    }


def test_list_repeats_its_query_and_counts_items(cloud: RunningCloud) -> None:
    for _ in range(3):
        cloud.add_run()
    answer = cloud.client.get("runs/", params={"job_definition_id": 101, "limit": 2}).json()
    assert answer["extra"] == {
        "filters": {"limit": 2, "offset": 0, "state": "all", "account_id": 1, "job_definition_id": 101},
        "order_by": "id",
        "pagination": {"count": 2, "total_count": 3},
    }


@pytest.mark.parametrize("authorization", ["Token local-token", "Bearer local-token"])
def test_token_and_bearer_are_accepted(cloud: RunningCloud, authorization: str) -> None:
    assert cloud.client.get("", headers={"Authorization": authorization}).status_code == 200


@pytest.mark.parametrize(
    "authorization", ["Token wrong", "Bearer", "local-token", "Token local-token2", "", "Token ü"]
)
def test_wrong_token_is_401(cloud: RunningCloud, authorization: str) -> None:
    answer = cloud.client.get("runs/", headers=[(b"Authorization", authorization.encode())])
    assert answer.status_code == 401
    assert answer.json() == {
        "status": {
            "code": 401,
            "is_success": False,
            "user_message": "Invalid token.",
            "developer_message": None,
        },
        "data": None,
    }


def test_each_endpoint_needs_the_token_of_its_account(cloud: RunningCloud) -> None:
    for method, path, _ in endpoints(create_api(cloud.service).routes):
        if path == "/":
            continue
        url = cloud.url + re.sub("{[^}]+}", "1", path.replace("{account_id}", "2"))
        assert cloud.client.request(method, url, headers={"Authorization": ""}).status_code == 401, url
        if "{account_id}" in path:
            assert cloud.client.request(method, url).status_code == 403, url


def test_other_account_is_403(cloud: RunningCloud) -> None:
    answer = cloud.client.get(f"{cloud.url}/api/v2/accounts/2/runs/")
    assert answer.status_code == 403
    assert answer.json()["status"]["user_message"] == "Access denied: Token is not scoped to account."


@pytest.mark.parametrize(
    "path",
    ["runs/7/", "jobs/7/", "projects/7/", "environments/7/", "runs/7/artifacts/", "runs/x/", "nothing/",
     f"runs/{2**70}/", "runs/-1/"],
)  # fmt: skip
def test_missing_object_is_404(cloud: RunningCloud, path: str) -> None:
    answer = cloud.client.get(path)
    assert answer.status_code == 404
    assert answer.json()["status"]["user_message"].startswith("The requested resource was not found.")


@pytest.mark.parametrize(
    "path",
    ["", "runs", "runs/1", "jobs", "jobs/101", "projects", "projects/1", "environments", "environments/1"],
)
def test_trailing_slash_is_optional(cloud: RunningCloud, path: str) -> None:
    cloud.add_run()
    # Durations of an unfinished run change between requests.
    assert [cloud.client.get(path + end).status_code for end in ("", "/")] == [200, 200]


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_accounts_projects_environments_exist_in_v2_and_v3(cloud: RunningCloud, version: str) -> None:
    def data(path: str) -> Any:
        return cloud.client.get(f"{cloud.url}/api/{version}/accounts/{path}").json()["data"]

    assert [account["id"] for account in data("")] == [1]
    assert data("1/")["name"] == "Local account"
    assert [project["name"] for project in data("1/projects/?name__icontains=jaffle")] == ["Jaffle Shop"]
    assert data("1/projects/?name__icontains=nothing") == []
    assert data("1/projects/1/")["id"] == 1
    assert [environment["name"] for environment in data("1/environments/?project_id=1")] == ["Production"]
    assert data("1/environments/?project_id=2") == []
    assert data("1/environments/1/")["project_id"] == 1


def test_project_environments_are_listed(cloud: RunningCloud) -> None:
    projects = f"{cloud.url}/api/v3/accounts/1/projects"
    assert [one["id"] for one in cloud.client.get(f"{projects}/1/environments/").json()["data"]] == [1]
    assert cloud.client.get(f"{projects}/1/environments/1/").json()["data"]["id"] == 1
    assert cloud.client.get(f"{projects}/2/environments/1/").status_code == 404


def test_declared_jobs_are_listed(cloud: RunningCloud) -> None:
    assert ids(cloud.get("jobs/")) == [100, 101, 102]
    assert ids(cloud.get("jobs/", name__icontains="FAILS")) == [102]
    assert ids(cloud.get("jobs/", order_by="-id", limit=1)) == [102]
    job = cloud.get("jobs/101/")
    assert job["execute_steps"] == ["dbt build"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT.*\+00:00", job["created_at"])


def test_runs_are_filtered(cloud: RunningCloud) -> None:
    first = cloud.add_run(RunStatus.SUCCESS)
    second = cloud.add_run(RunStatus.RUNNING)
    third = cloud.add_run(RunStatus.QUEUED, job_id=102)
    assert ids(cloud.get("runs/", job_definition_id=101)) == [first, second]
    assert ids(cloud.get("runs/", status=10)) == [first]
    assert ids(cloud.get("runs/", status__in="[1, 2, 3]")) == [second, third]
    assert ids(cloud.get("runs/", status__in="[1,2,3]", job_definition_id=102)) == [third]
    assert ids(cloud.get("runs/", pk__in=f"[{third},{first}]")) == [first, third]
    assert ids(cloud.get("runs/", pk__in="[]")) == []
    assert ids(cloud.get("runs/", id__gt=first)) == [second, third]
    assert ids(cloud.get("runs/", project_id=2)) == []


def test_runs_are_ordered_and_paged(cloud: RunningCloud) -> None:
    now = utc_now()
    oldest_last = [cloud.add_run(created_at=now - timedelta(minutes=minute)) for minute in range(5)]
    assert ids(cloud.get("runs/")) == oldest_last
    assert ids(cloud.get("runs/", order_by="-id")) == oldest_last[::-1]
    assert ids(cloud.get("runs/", order_by="created_at")) == oldest_last[::-1]
    assert ids(cloud.get("runs/", order_by="-created_at", limit=2, offset=1)) == oldest_last[1:3]
    assert ids(cloud.get("runs/", offset=9)) == []


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=101", "limit=x", "offset=-1", "order_by=name", "status=x", "status__in=[a]",
     "pk__in=[1,x]",
     f"pk={2**70}", f"offset={2**70}"],
)  # fmt: skip
def test_invalid_query_is_400_with_the_field(cloud: RunningCloud, query: str) -> None:
    answer = cloud.client.get(f"runs/?{query}")
    assert answer.status_code == 400
    assert answer.json()["status"]["user_message"].startswith("The request was invalid.")
    assert set(answer.json()["data"]) == {query.partition("=")[0]}


@pytest.mark.parametrize(
    "spelling",
    [
        "include_related=trigger&include_related=job&include_related=run_steps",
        "include_related=trigger,job,run_steps",
        'include_related=["trigger","job","run_steps"]',
        "include_related=['trigger', 'job', 'run_steps']",
        "include_related=[trigger,job,run_steps]",
        'include_related=["trigger","job",,"run_steps", "environment"]',
    ],
)
def test_include_related_accepts_all_spellings(cloud: RunningCloud, spelling: str) -> None:
    run_id = cloud.add_run()
    for run in (
        cloud.client.get(f"runs/{run_id}/?{spelling}").json()["data"],
        cloud.client.get(f"runs/?{spelling}").json()["data"][0],
    ):
        assert run["trigger"]["cause"] == "a test"
        assert run["job"]["id"] == 101
        assert run["run_steps"] == []


@pytest.mark.parametrize("query", ["", "?include_related="])
def test_related_objects_are_omitted_by_default(cloud: RunningCloud, query: str) -> None:
    run = cloud.client.get(f"runs/{cloud.add_run()}/{query}").json()["data"]
    assert (run["trigger"], run["job"], run["environment"], run["run_steps"]) == (None, None, None, [])


def test_run_has_the_fields_that_clients_read(cloud: RunningCloud) -> None:
    now = utc_now()
    run = cloud.get(f"runs/{cloud.add_run(created_at=now, started_at=now, finished_at=now)}/")
    assert run["status"] == 10
    assert (run["status_humanized"], run["is_complete"], run["is_success"]) == ("Success", True, True)
    assert run["job_id"] == run["job_definition_id"] == 101
    assert run["retry_not_supported_reason"] == "RETRY_NOT_FAILED_RUN"
    assert run["href"].endswith(f"/deploy/1/projects/1/runs/{run['id']}/")
    for field in ("created_at", "updated_at", "started_at", "finished_at"):
        assert re.fullmatch(RUN_TIME, run[field]), field


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "cause"),
        ({"cause": ""}, "cause"),
        ({"cause": None}, "cause"),
        ({"cause": "x" * 256}, "cause"),
        ({"cause": "x", "steps_override": ["rm -rf /"]}, "steps_override"),
        ({"cause": "x", "steps_override": "dbt build"}, "steps_override"),
        ({"cause": "x", "steps_override": [1]}, "steps_override"),
        ({"cause": "x", "threads_override": 0}, "threads_override"),
        ({"cause": "x", "threads_override": "many"}, "threads_override"),
        ({"cause": "x", "timeout_seconds_override": -1}, "timeout_seconds_override"),
        ({"cause": "x", "schema_override": ""}, "schema_override"),
        ({"cause": "x", "schema_override": "{{ env_var('DBT_ENV_SECRET_X') }}"}, "schema_override"),
        ({"cause": "x", "steps_override": ["dbt build " + "x" * 30_000]}, "steps_override"),
    ],
)
def test_invalid_trigger_is_400_and_queues_nothing(
    cloud: RunningCloud, body: dict[str, Any], field: str
) -> None:
    answer = cloud.client.post("jobs/101/run/", json=body)
    assert answer.status_code == 400
    assert field in answer.json()["data"]
    assert cloud.get("runs/") == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"7", b"\xff\xfe"])
def test_non_object_body_is_400_and_queues_nothing(cloud: RunningCloud, content: bytes) -> None:
    answer = cloud.client.post("jobs/101/run/", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert set(answer.json()["data"] or {"body": ""}) == {"body"}
    assert cloud.get("runs/") == []


def test_trigger_of_missing_job_is_404(cloud: RunningCloud) -> None:
    assert cloud.client.post("jobs/7/run/", json={"cause": "x"}).status_code == 404


def test_cancel_does_not_change_a_finished_run(cloud: RunningCloud) -> None:
    assert cloud.cancel(cloud.add_run(RunStatus.SUCCESS))["status_humanized"] == "Success"


def test_queued_run_is_canceled_immediately(cloud: RunningCloud) -> None:
    run = cloud.cancel(cloud.add_run(RunStatus.QUEUED))
    assert run["status"] == 30
    assert run["status_message"] == "Cancelled by user."
    assert run["finished_at"]
    assert run["started_at"] is None


def test_root_needs_no_token(cloud: RunningCloud) -> None:
    assert cloud.client.get(f"{cloud.url}/", headers={"Authorization": ""}).status_code == 200


def test_wrong_method_is_405_in_an_envelope(cloud: RunningCloud) -> None:
    answer = cloud.client.put("jobs/101/")
    assert answer.status_code == 405
    assert answer.json()["status"]["is_success"] is False


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "https://elsewhere.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_request_of_a_page_of_another_site_is_rejected(
    cloud: RunningCloud, headers: dict[str, str], code: int
) -> None:
    for method, path in (("GET", "/"), ("GET", "/api/v2/accounts/"), ("POST", "/local/reset")):
        answer = cloud.client.request(method, f"{cloud.url}{path}", headers=headers)
        assert answer.status_code == code, path
    if code == 403:
        assert cloud.requests() == []

"""Responses of all endpoints match dbt Cloud's OpenAPI files."""

import re

import pytest

import openapi
from local_dbt_cloud.api import create_api
from local_dbt_cloud.api.routes.empty_lists import V2_PATHS, V3_PATHS
from local_dbt_cloud.database import utc_now
from local_dbt_cloud.run_status import RunStatus
from routes import endpoints
from running_cloud import RunningCloud
from test_readme import README

pytestmark = pytest.mark.skipif(not openapi.ARE_AVAILABLE, reason=openapi.SKIP_REASON)

JOB = {"name": "made by a test", "environment_id": 1, "project_id": 1, "execute_steps": ["dbt build"]}
RELATED_TO_RUN = "trigger,job,environment,repository,run_steps,debug_logs"
RELATED_TO_JOB = (
    "account,project,environment,custom_environment_variables,most_recent_run,most_recent_completed_run"
)


def requests_of(cloud: RunningCloud) -> list[tuple[str, str, dict | None]]:
    """Return a request to every endpoint that answers with JSON in an envelope."""
    now = utc_now()
    run_id = cloud.add_run(RunStatus.ERROR, started_at=now, finished_at=now, dequeued_at=now,
                           dbt_steps=[["dbt deps"], ["dbt build"], ["dbt test"]])  # fmt: skip
    step_id = cloud.add_step(
        run_id, 4, name="Invoke dbt with `dbt build`", artifacts={"run_results.json": "{}"}
    )
    queued = cloud.add_run(RunStatus.QUEUED, job_id=102)
    variables = "v3/accounts/1/projects/1/environment-variables"
    variable = {"name": "DBT_A", "type": "job", "job_definition_id": 101, "raw_value": "x", "account_id": 1}
    return [
        ("GET", "v2/accounts", None),
        ("GET", "v2/accounts/1", None),
        ("GET", "v2/accounts/1/projects", None),
        ("GET", "v2/accounts/1/projects/1", None),
        ("GET", "v2/accounts/1/environments", None),
        ("GET", "v2/accounts/1/environments/1", None),
        ("GET", f"v2/accounts/1/jobs?include_related={RELATED_TO_JOB}", None),
        ("GET", f"v2/accounts/1/jobs/101?include_related={RELATED_TO_JOB}", None),
        ("GET", "v2/accounts/1/jobs/101", None),
        ("GET", f"v2/accounts/1/runs?include_related={RELATED_TO_RUN}", None),
        ("GET", "v2/accounts/1/runs", None),
        ("GET", f"v2/accounts/1/runs/{run_id}?include_related={RELATED_TO_RUN}", None),
        ("GET", f"v2/accounts/1/runs/{run_id}", None),
        ("GET", f"v2/accounts/1/runs/{run_id}/artifacts", None),
        ("GET", f"v2/accounts/1/runs/{run_id}/retry", None),
        ("GET", f"v2/accounts/1/steps/{step_id}", None),
        ("GET", "v3/accounts", None),
        ("GET", "v3/accounts/1", None),
        ("GET", "v3/accounts/1/projects", None),
        ("GET", "v3/accounts/1/projects/1", None),
        ("GET", "v3/accounts/1/environments?project_id=1", None),
        ("GET", "v3/accounts/1/environments/1", None),
        ("GET", "v3/accounts/1/projects/1/environments", None),
        ("GET", "v3/accounts/1/projects/1/environments/1", None),
        ("POST", variables, variable),
        ("GET", f"{variables}/job?job_definition_id=101", None),
        ("GET", f"{variables}/environment", None),
        ("POST", f"{variables}/1", variable),
        ("DELETE", f"{variables}/1", None),
        ("POST", f"v2/accounts/1/runs/{queued}/cancel", None),
        ("POST", f"v2/accounts/1/runs/{run_id}/retry", None),
        ("POST", "v2/accounts/1/jobs", JOB),
        ("POST", "v2/accounts/1/jobs/100001", {"id": 100001, "name": "renamed"}),
        ("POST", "v2/accounts/1/jobs/100001/run", {"cause": "a test"}),
        ("POST", "v2/accounts/1/jobs/100001/rerun", None),
        ("DELETE", "v2/accounts/1/jobs/100001", None),
        *provisioning_requests(),
    ]  # fmt: skip


def provisioning_requests() -> list[tuple[str, str, dict | None]]:
    """Return requests that create, read and delete a project with what belongs to it."""
    project, v3 = {"name": "Shop", "type": 0, "state": 1, "account_id": 1}, "v3/accounts/1"
    shop, environment = f"{v3}/projects/100001", {"name": "Production", "dbt_version": "latest"}
    related = "environments,repository,connection,group_permissions,docs_job,freshness_job"
    of_environment = "project,repository,connection,credentials,custom_environment_variables"
    connection = {"name": "W", "adapter_version": "postgres_v0",
                  "config": {"hostname": "h", "port": 5432, "dbname": "d", "username": "u"}}  # fmt: skip
    credentials = {"type": "postgres", "default_schema": "s", "username": "u", "threads": 4}
    attributes = {"extended_attributes": {"x": 1}}
    values = {"project": "a", "Production": "b"}
    new_ids = {"connection_id": 100001, "credentials_id": 100001}
    return [
        ("POST", f"{v3}/projects", project),
        ("POST", shop, project),
        ("POST", f"{v3}/connections", connection),
        ("GET", f"{v3}/connections", None),
        ("GET", f"{v3}/connections/100001", None),
        ("PATCH", f"{v3}/connections/100001", {"config": {"port": 1}}),
        ("POST", f"{shop}/credentials", credentials),
        ("GET", f"{shop}/credentials", None),
        ("GET", f"{shop}/credentials/100001", None),
        ("POST", f"{shop}/credentials/100001", credentials),
        ("PATCH", f"{shop}/credentials/100001", {"username": "v"}),
        ("POST", f"{shop}/repositories", {"remote_url": "git@github.com:acme/shop.git"}),
        ("GET", f"{shop}/repositories", None),
        ("GET", f"{shop}/repositories/100001", None),
        ("POST", f"{shop}/repositories/100001", {"remote_url": "git@github.com:acme/store.git"}),
        ("GET", "v2/accounts/1/repositories", None),
        ("GET", "v2/accounts/1/repositories/100001", None),
        ("POST", f"{shop}/extended-attributes", attributes),
        ("GET", f"{shop}/extended-attributes/100001", None),
        ("PATCH", f"{shop}/extended-attributes/100001", attributes),
        ("POST", f"{shop}/environments", environment | new_ids),
        ("POST", f"{shop}/environments/100001", environment | new_ids),
        ("GET", f"{shop}/environments/100001?include_related={of_environment}", None),
        # The file describes the connection of v2 as one to Postgres.
        ("GET", "v2/accounts/1/environments/100001?include_related=repository", None),
        ("GET", f"{shop}/connections", None),
        ("GET", f"{shop}/connections/100001", None),
        ("GET", f"{shop}?include_related={related}", None),
        ("POST", f"{shop}/environment-variables/bulk", {"env_var": {"new_name": "DBT_A", "project": "x"}}),
        ("PUT", f"{shop}/environment-variables/bulk", {"env_vars": {"name": "DBT_A", **values}}),
        ("GET", f"{shop}/environment-variables/environment", None),
        ("DELETE", f"{shop}/environment-variables/bulk", {"name": "DBT_A"}),
        ("DELETE", f"{shop}/environments/100001", None),
        ("DELETE", f"{shop}/extended-attributes/100001", None),
        ("DELETE", f"{shop}/repositories/100001", None),
        ("DELETE", f"{shop}/credentials/100001", None),
        ("DELETE", f"{v3}/connections/100001", None),
        ("DELETE", shop, None),
        *[("GET", f"v3/accounts/1/{name}", None) for name in ("groups", "users", "service-tokens")],
    ]


def test_readme_states_how_many_published_operations_answer(cloud: RunningCloud) -> None:
    def without_names(path: str) -> str:
        return re.sub(r"{[^}]+}", "{}", path).rstrip("/")

    served = {
        (method.lower(), without_names(path))
        for method, path, _ in endpoints(create_api(cloud.service).routes)
    }
    operations = [(method, without_names(path)) for method, path in openapi.operations()]
    empty = {without_names(f"/api/v2/accounts/{{}}{path}") for path in V2_PATHS}
    empty |= {without_names(f"/api/v3/accounts/{{}}{path}") for path in V3_PATHS}
    answered = [operation for operation in operations if operation in served]
    lists = [path for method, path in answered if path in empty]
    sentence = (
        f"Of the {len(operations)} operations that dbt Cloud publishes, {len(answered)} answer, "
        f"{len(lists)} of them with an empty list."
    )
    assert sentence in " ".join(README.split()), sentence


@pytest.mark.parametrize("slash", ["", "/"])
def test_responses_match_the_openapi_files(cloud: RunningCloud, slash: str) -> None:
    for method, path, body in requests_of(cloud):
        path, mark, query = path.partition("?")
        answer = cloud.client.request(method, f"{cloud.url}/api/{path}{slash}{mark}{query}", json=body)
        assert answer.status_code == 200, (method, path, answer.text)
        assert openapi.check(answer), f"{method} {path} has no schema"

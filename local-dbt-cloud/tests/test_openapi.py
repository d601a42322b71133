"""Responses of all endpoints match dbt Cloud's OpenAPI files."""

import pytest

import openapi
from local_dbt_cloud.database import utc_now
from local_dbt_cloud.run_status import RunStatus
from running_cloud import RunningCloud

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
        ("POST", "v2/accounts/1/jobs/103", {"id": 103, "name": "renamed"}),
        ("POST", "v2/accounts/1/jobs/103/run", {"cause": "a test"}),
        ("POST", "v2/accounts/1/jobs/103/rerun", None),
        ("DELETE", "v2/accounts/1/jobs/103", None),
    ]  # fmt: skip


@pytest.mark.parametrize("slash", ["", "/"])
def test_responses_match_the_openapi_files(cloud: RunningCloud, slash: str) -> None:
    for method, path, body in requests_of(cloud):
        path, mark, query = path.partition("?")
        answer = cloud.client.request(method, f"{cloud.url}/api/{path}{slash}{mark}{query}", json=body)
        assert answer.status_code == 200, (method, path, answer.text)
        assert openapi.check(answer), f"{method} {path} has no schema"

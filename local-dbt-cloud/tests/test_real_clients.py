"""Published clients of dbt Cloud, unmodified: dbtc and dbt-jobs-as-code.

Each runs in a subprocess, in its own virtual environment, and trusts the certificates of the local dbt Cloud.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from local_dbt_cloud.run_status import RunStatus
from lock_files import check_hashes, pins
from running_cloud import TOKEN, RunningCloud, ids
from tiny_account import FAILING, OTHER_ENVIRONMENT, QUICK, SLOW

HERE = Path(__file__).parent / "clients"
# Created by `make test`.
INSTALLED = Path(sys.prefix).parent / "environments"
CLIENTS = ("dbtc", "dbt_jobs_as_code")
TIMEOUT = 120  # seconds

# Read calls of dbtc's methods, one per line, and write their results.
DBTC = """
import json, sys
from dbtc import dbtCloudClient

cloud = dbtCloudClient().cloud
for line in sys.stdin:
    method, args, kwargs = json.loads(line)
    print(json.dumps(getattr(cloud, method)(*args, **kwargs)), flush=True)
"""


@pytest.fixture
def cloud(tiny_cloud: RunningCloud) -> RunningCloud:
    if not all((INSTALLED / name / "ready").is_file() for name in CLIENTS):
        pytest.skip("the clients are not installed: run `make test` once")
    return tiny_cloud


def environment(cloud: RunningCloud, home: Path) -> dict[str, str]:
    ca_bundle = str(cloud.service.data.ca_bundle)
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home),
        "SSL_CERT_FILE": ca_bundle,
        "REQUESTS_CA_BUNDLE": ca_bundle,
        "DBT_CLOUD_HOST": cloud.url.removeprefix("https://"),
        "DBT_CLOUD_SERVICE_TOKEN": TOKEN,
        "DBT_CLOUD_ACCOUNT_ID": "1",
        "DBT_BASE_URL": cloud.url,
        "DBT_API_KEY": TOKEN,
    }


class Client:
    """The command line of a client, run in a temporary directory."""

    def __init__(self, cloud: RunningCloud, directory: Path, name: str, command: str) -> None:
        self.directory = directory
        self._command = str(INSTALLED / name / "bin" / command)
        self._environment = environment(cloud, directory)

    def run(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command, and check its exit code."""
        done = subprocess.run(
            [self._command, *arguments],
            cwd=self.directory,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done


class Dbtc:
    """A Python process that calls methods of dbtc."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process = process
        self._log = log

    def __call__(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method and return its result."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([method, args, kwargs]) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, self._log.read_text()
        return json.loads(answer)

    def data(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method, check that it succeeds, and return the data of the response."""
        answer = self(method, *args, **kwargs)
        assert answer["status"]["is_success"], answer
        return answer["data"]


@contextmanager
def dbtc_process(cloud: RunningCloud, directory: Path) -> Iterator[Dbtc]:
    log = directory / "dbtc.log"
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            [INSTALLED / "dbtc" / "bin" / "python", "-c", DBTC],
            cwd=directory,
            env=environment(cloud, directory),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as process,
    ):
        # dbtc polls without a timeout.
        timer = threading.Timer(TIMEOUT, process.kill)
        timer.start()
        try:
            yield Dbtc(process, log)
        finally:
            timer.cancel()
            process.kill()


@pytest.fixture
def dbtc(cloud: RunningCloud, tmp_path: Path) -> Iterator[Dbtc]:
    with dbtc_process(cloud, tmp_path) as dbtc:
        yield dbtc


@pytest.fixture
def jobs_as_code(cloud: RunningCloud, tmp_path: Path) -> Client:
    return Client(cloud, tmp_path, "dbt_jobs_as_code", "dbt-jobs-as-code")


@pytest.mark.parametrize("name", CLIENTS)
def test_client_lock_names_no_registry_and_hashes_every_package(name: str) -> None:
    lock = (HERE / f"{name}.lock").read_text()
    check_hashes(lock)
    assert len(pins(lock)) > 10
    required = pins((HERE / f"{name}.in").read_text())
    assert len(required) == 1
    assert required.items() <= pins(lock).items()


@pytest.mark.end_to_end
def test_dbtc_finds_accounts_projects_environments_and_jobs(dbtc: Dbtc) -> None:
    assert [account["name"] for account in dbtc.data("list_accounts")] == ["Tests"]
    assert dbtc.data("get_account", 1)["run_slots"] == 2
    assert dbtc.data("get_account_by_name", "Tests")["id"] == 1
    assert ids(dbtc.data("list_projects", 1)) == [1]
    assert dbtc.data("list_projects", 1, project_id=[7, 8]) == []
    assert dbtc.data("get_project_by_name", "Tiny", account_name="Tests")["id"] == 1
    assert ids(dbtc.data("list_environments", 1, 1, order_by="-id")) == [2, 1]
    assert ids(dbtc.data("list_environments", 1, 1, name="2", type="deployment", state=1)) == [2]
    assert ids(dbtc.data("list_environments_by_account", 1)) == [1, 2]
    assert dbtc.data("get_environment", 1, 1, 2)["name"] == "2"
    assert ids(dbtc.data("list_jobs", 1, order_by="-id", limit=2, offset=1)) == [3, 2]
    assert ids(dbtc.data("list_jobs", 1, environment_id=2, project_id=[1, 7])) == [OTHER_ENVIRONMENT]
    job = dbtc.data("get_job", 1, OTHER_ENVIRONMENT, include_related=["environment", "project"])
    assert (job["environment"]["name"], job["project"]["name"]) == ("2", "Tiny")


@pytest.mark.end_to_end
def test_dbtc_reads_errors(cloud: RunningCloud, dbtc: Dbtc) -> None:
    assert dbtc("get_job", 1, 99)["status"]["code"] == 404
    assert dbtc("get_account", 2)["status"]["code"] == 403
    # dbtc does not poll after a failed trigger.
    rejected = dbtc("trigger_job", 1, QUICK, {})
    assert (rejected["status"]["code"], set(rejected["data"])) == (400, {"cause"})
    assert cloud.get("runs/") == []


@pytest.mark.end_to_end
def test_dbtc_creates_updates_and_deletes_a_job(cloud: RunningCloud, dbtc: Dbtc) -> None:
    payload = {
        "id": None,
        "account_id": 1,
        "project_id": 1,
        "environment_id": 1,
        "name": "Nightly",
        "dbt_version": None,
        "execute_steps": ["dbt run --select one"],
        "settings": {"threads": 2, "target_name": "prod"},
        "schedule": {"cron": "0 7 * * *", "date": {"type": "every_day"}, "time": {"type": "every_hour"}},
        "triggers": {"github_webhook": False, "schedule": True},
        "state": 1,
    }
    job = dbtc.data("create_job", 1, payload)
    assert (job["name"], job["settings"]["threads"], job["triggers"]["schedule"]) == ("Nightly", 2, True)
    # Send the job as it was read, including read-only fields.
    changed = dbtc.data("update_job", 1, job["id"], job | {"name": "Weekly"})
    assert (changed["name"], changed["schedule"]) == ("Weekly", job["schedule"])
    assert cloud.get(f"jobs/{job['id']}/")["name"] == "Weekly"
    rejected = dbtc("update_job", 1, job["id"], {"name": "without an id"})
    assert (rejected["status"]["code"], set(rejected["data"])) == (400, {"id"})
    assert dbtc.data("delete_job", 1, job["id"])["state"] == 2
    assert dbtc("get_job", 1, job["id"])["status"]["code"] == 404
    assert ids(dbtc.data("list_jobs", 1)) == [QUICK, SLOW, FAILING, OTHER_ENVIRONMENT]
    assert ids(dbtc.data("list_jobs", 1, state=2)) == [job["id"]]


@pytest.mark.end_to_end
def test_dbtc_filters_runs(cloud: RunningCloud, dbtc: Dbtc) -> None:
    quick = [cloud.add_run(status, QUICK) for status in (RunStatus.SUCCESS, RunStatus.ERROR)]
    slow = [cloud.add_run(status, SLOW) for status in (RunStatus.CANCELLED, RunStatus.SUCCESS)]
    assert ids(dbtc.data("list_runs", 1)) == quick + slow
    assert ids(dbtc.data("list_runs", 1, order_by="-id", limit=2, offset=1)) == [slow[0], quick[1]]
    assert ids(dbtc.data("list_runs", 1, status="success")) == [quick[0], slow[1]]
    assert ids(dbtc.data("list_runs", 1, status=["error", "cancelled"])) == [quick[1], slow[0]]
    assert ids(dbtc.data("list_runs", 1, job_definition_id=SLOW, environment_id=1, project_id=1)) == slow
    assert dbtc.data("list_runs", 1, project_id=[7, 8]) == []
    (run,) = dbtc.data("list_runs", 1, status="cancelled", include_related=["trigger", "job"])
    assert (run["trigger"]["cause"], run["job"]["name"]) == ("a test", "endless")
    assert dbtc.data("get_most_recent_run", 1, job_definition_id=QUICK)["id"] == quick[1]
    assert dbtc.data("get_most_recent_run", 1, status="success")["id"] == slow[1]
    assert dbtc.data("get_most_recent_run", 1, job_definition_id=FAILING) == {}


@pytest.mark.end_to_end
def test_dbtc_runs_a_job_and_reads_its_artifacts(dbtc: Dbtc) -> None:
    payload = {"cause": "dbtc", "threads_override": 2, "schema_override": "elsewhere"}
    done = dbtc.data("trigger_job", 1, QUICK, payload, poll_interval=0.2)
    assert done["status"] == RunStatus.SUCCESS
    related = ["trigger", "job", "environment", "run_steps", "debug_logs", "repository"]
    run = dbtc.data("get_run", 1, done["id"], include_related=related)
    assert (run["trigger"]["threads_override"], run["environment"]["name"]) == (2, "1")
    assert [step["name"] for step in run["run_steps"]] == [
        "Clone git repository",
        "Create profile from connection DuckDB",
        "Invoke dbt with `dbt deps`",
        "Invoke dbt with `dbt run --select one`",
    ]
    assert "Completed successfully" in run["run_steps"][-1]["logs"]
    assert "Completed successfully" in run["run_steps"][-1]["debug_logs"]

    assert {"manifest.json", "run_results.json"} <= set(dbtc.data("list_run_artifacts", 1, run["id"]))
    # Artifacts have no envelope.
    results = dbtc("get_run_artifact", 1, run["id"], "run_results.json", step=4)
    assert results["metadata"]["env"]["DBT_CLOUD_RUN_ID"] == f"{run['id']}"
    compiled = dbtc("get_run_artifact", 1, run["id"], "compiled/tiny/models/one.sql")
    assert compiled.startswith(f"select '{run['id']}' as run_id")
    latest = dbtc("get_most_recent_run_artifact", 1, "run_results.json", job_definition_id=QUICK)
    assert latest == results
    assert dbtc("get_run_artifact", 1, run["id"], "catalog.json")["status"]["code"] == 404


@pytest.mark.end_to_end
def test_dbtc_cancels_a_run(cloud: RunningCloud, dbtc: Dbtc) -> None:
    run = dbtc.data("trigger_job", 1, SLOW, {"cause": "dbtc"}, should_poll=False)
    assert (run["status"], run["status_humanized"], run["trigger"]["cause"]) == (1, "Queued", "dbtc")
    cloud.wait(run["id"], lambda run: run["status"] == RunStatus.RUNNING)
    assert dbtc.data("cancel_run", 1, run["id"])["status"] == RunStatus.CANCELLED
    assert dbtc.data("get_run", 1, run["id"])["status_message"] == "Cancelled by user."


@pytest.mark.end_to_end
def test_dbtc_retries_a_job_from_the_point_of_failure(cloud: RunningCloud, dbtc: Dbtc) -> None:
    failed = dbtc.data("trigger_job", 1, FAILING, {"cause": "dbtc"}, poll_interval=0.2)
    assert (failed["status"], failed["can_retry"]) == (RunStatus.ERROR, True)
    again = dbtc.data("trigger_job_from_failure", 1, FAILING, poll_interval=0.2)
    assert (again["status"], again["retrying_run_id"]) == (RunStatus.ERROR, failed["id"])
    assert cloud.wait(again["id"])["run_steps"][-1]["name"] == "Invoke dbt with `dbt retry`"
    # Without a failed run, it triggers a new run.
    new = dbtc.data("trigger_job_from_failure", 1, SLOW, should_poll=False)
    assert (new["job_id"], new["retrying_run_id"]) == (SLOW, None)
    assert new["trigger"]["cause_category"] == "rerun"


def pull_request_payload(number: int) -> dict[str, Any]:
    schema = f"pr_{number}"
    return {
        "cause": "CI",
        "git_sha": f"{number}" * 7,
        "schema_override": schema,
        "github_pull_request_id": number,
    }


@pytest.mark.end_to_end
def test_dbtc_clones_a_busy_ci_job_for_another_pull_request(cloud: RunningCloud, dbtc: Dbtc) -> None:
    busy = cloud.add_run(RunStatus.RUNNING, QUICK)
    run = dbtc.data("trigger_autoscaling_ci_job", 1, QUICK, pull_request_payload(2), poll_interval=0.2)
    assert run["status"] == RunStatus.SUCCESS
    assert run["job_definition_id"] not in (QUICK, SLOW, FAILING, OTHER_ENVIRONMENT)
    # The clone is deleted, its run is kept.
    assert dbtc("get_job", 1, run["job_definition_id"])["status"]["code"] == 404
    (clone,) = dbtc.data("list_jobs", 1, state=2)
    assert clone["name"].startswith("one [CLONED ")
    assert clone["execute_steps"] == ["dbt run --select one"]
    assert ids(dbtc.data("list_runs", 1)) == [busy, run["id"]]


@pytest.mark.end_to_end
def test_dbtc_replaces_the_run_of_an_outdated_commit(cloud: RunningCloud, dbtc: Dbtc) -> None:
    first = dbtc.data("trigger_autoscaling_ci_job", 1, SLOW, pull_request_payload(1))
    second = dbtc.data("trigger_autoscaling_ci_job", 1, SLOW, pull_request_payload(1) | {"git_sha": "new"})
    assert cloud.wait(first["id"])["status"] == RunStatus.CANCELLED
    assert (second["job_definition_id"], second["git_sha"]) == (SLOW, "new")
    assert ids(dbtc.data("list_jobs", 1, state=2)) == []
    cloud.cancel(second["id"])


@pytest.mark.end_to_end
def test_dbtc_manages_environment_variables_of_a_job(cloud: RunningCloud, dbtc: Dbtc) -> None:
    def of_job() -> Any:
        return dbtc.data("list_environment_variables", 1, 1, resource_type="job", job_id=QUICK)

    of_project = {
        "account_id": 1,
        "project_id": 1,
        "type": "project",
        "name": "DBT_COLOR",
        "raw_value": "red",
    }
    of_quick = of_project | {"type": "job", "job_definition_id": QUICK, "raw_value": "blue"}
    project = dbtc.data("create_env_vars", 1, 1, of_project)
    job = dbtc.data("create_env_vars", 1, 1, of_quick)
    assert of_job() == {
        "DBT_COLOR": {
            "project": {"id": project["id"], "value": "red"},
            "job": {"id": job["id"], "value": "blue"},
        }
    }
    dbtc.data("update_env_vars", 1, 1, job["id"], of_quick | {"id": job["id"], "raw_value": "green"})
    assert of_job()["DBT_COLOR"]["job"]["value"] == "green"
    dbtc.data("delete_env_vars", 1, 1, job["id"])
    assert of_job() == {"DBT_COLOR": {"project": {"id": project["id"], "value": "red"}}}


@pytest.mark.end_to_end
def test_dbtc_command_line_runs_a_job(cloud: RunningCloud, tmp_path: Path) -> None:
    dbtc = Client(cloud, tmp_path, "dbtc", "dbtc")
    payload = json.dumps({"cause": "typed"})
    done = dbtc.run("jobs", "trigger", "--job-id", f"{QUICK}", "--payload", payload, "--poll-interval", "1")
    run = json.loads(done.stdout)["data"]
    assert run["status"] == RunStatus.SUCCESS
    query = ["--status", '["success"]', "--include-related", '["trigger"]', "--order-by=-id", "--limit", "1"]
    dbtc.run("--output", "runs.json", "runs", "list", *query)
    (listed,) = json.loads((tmp_path / "runs.json").read_text())["data"]
    assert (listed["id"], listed["trigger"]["cause"]) == (run["id"], "typed")
    artifact = ["--run-id", f"{run['id']}", "--path", "run_results.json"]
    assert json.loads(dbtc.run("runs", "get-artifact", *artifact).stdout)["results"][0]["status"] == "success"


def jobs_file(jobs_as_code: Client, **jobs: dict[str, Any]) -> str:
    """Write jobs that differ from default values as given; return the name of the file."""
    defaults = {
        "account_id": 1,
        "project_id": 1,
        "environment_id": 1,
        "name": "Nightly",
        "settings": {"threads": 2, "target_name": "prod"},
        "execution": {"timeout_seconds": 60},
        "run_generate_sources": True,
        "execute_steps": ["dbt run --select one"],
        "generate_docs": True,
        "schedule": {"cron": "0 7 * * 1"},
        "triggers": {
            "github_webhook": False,
            "git_provider_webhook": False,
            "schedule": True,
            "on_merge": False,
        },
        "description": "Runs at night.",
    }
    content = {"jobs": {identifier: defaults | changes for identifier, changes in jobs.items()}}
    (jobs_as_code.directory / "jobs.yml").write_text(yaml.safe_dump(content))
    return "jobs.yml"


def changes(done: subprocess.CompletedProcess[str]) -> list[tuple[str, str]]:
    """Return the changes in the JSON output of plan or sync: action, and job or variable."""
    found = json.loads(done.stdout)
    every = found["job_changes"] + found["env_var_overwrite_changes"]
    return sorted((change["action"], change["identifier"]) for change in every)


def names(cloud: RunningCloud) -> list[str]:
    return [job["name"] for job in cloud.get("jobs/")]


ENVIRONMENT_OPTIONS = ("--project-id", "1", "--environment-id", "1", "--json")


@pytest.mark.end_to_end
def test_jobs_as_code_creates_updates_and_deletes_jobs(cloud: RunningCloud, jobs_as_code: Client) -> None:
    declared = names(cloud)
    file = jobs_file(jobs_as_code, nightly={}, weekly={"name": "Weekly", "deferring_environment_id": 1})
    created = [("CREATE", "nightly"), ("CREATE", "weekly")]
    assert changes(jobs_as_code.run("plan", file, *ENVIRONMENT_OPTIONS)) == created
    assert names(cloud) == declared
    assert changes(jobs_as_code.run("sync", file, *ENVIRONMENT_OPTIONS)) == created
    assert set(names(cloud)) - set(declared) == {"Nightly [[nightly]]", "Weekly [[weekly]]"}
    # The API returns all fields as they were sent.
    assert changes(jobs_as_code.run("plan", file, *ENVIRONMENT_OPTIONS)) == []

    file = jobs_file(
        jobs_as_code,
        nightly={
            "name": "Every night",
            "execute_steps": ["dbt build", "dbt test"],
            "schedule": {"cron": "0 8 * * *"},
            "triggers": {"schedule": False},
            # dbt Cloud derives the type from the triggers; the client would compare its default with that.
            "job_type": "other",
            "job_completion_trigger_condition": {
                "condition": {"job_id": QUICK, "project_id": 1, "statuses": [10, 20]}
            },
        },
    )
    changed = [("DELETE", "weekly"), ("UPDATE", "nightly")]
    assert changes(jobs_as_code.run("sync", file, *ENVIRONMENT_OPTIONS)) == changed
    assert set(names(cloud)) - set(declared) == {"Every night [[nightly]]"}
    assert changes(jobs_as_code.run("plan", file, *ENVIRONMENT_OPTIONS)) == []


@pytest.mark.end_to_end
def test_jobs_as_code_manages_environment_variables(cloud: RunningCloud, jobs_as_code: Client) -> None:
    def variables() -> dict[str, str]:
        (job_id,) = [job["id"] for job in cloud.get("jobs/", name__icontains="nightly")]
        path = f"{cloud.url}/api/v3/accounts/1/projects/1/environment-variables/job/"
        found = cloud.get(path, job_definition_id=job_id)
        return {name: scopes["job"]["value"] for name, scopes in found.items() if "job" in scopes}

    file = jobs_file(jobs_as_code, nightly={"custom_environment_variables": [{"DBT_A": "1"}, {"DBT_B": "2"}]})
    made = [("CREATE", "nightly"), ("CREATE", "nightly:DBT_A"), ("CREATE", "nightly:DBT_B")]
    assert changes(jobs_as_code.run("sync", file, *ENVIRONMENT_OPTIONS)) == made
    assert variables() == {"DBT_A": "1", "DBT_B": "2"}
    assert changes(jobs_as_code.run("plan", file, *ENVIRONMENT_OPTIONS)) == []

    file = jobs_file(jobs_as_code, nightly={"custom_environment_variables": [{"DBT_A": "new"}]})
    changed = [("DELETE", "nightly:DBT_B"), ("UPDATE", "nightly:DBT_A")]
    assert changes(jobs_as_code.run("sync", file, *ENVIRONMENT_OPTIONS)) == changed
    assert variables() == {"DBT_A": "new"}
    imported = yaml.safe_load(jobs_as_code.run("import-jobs", "--account-id", "1", "--managed-only").stdout)
    assert imported["jobs"]["nightly"]["custom_environment_variables"] == [{"DBT_A": "new"}]


@pytest.mark.end_to_end
def test_jobs_as_code_imports_links_and_unlinks_the_declared_jobs(
    cloud: RunningCloud, jobs_as_code: Client
) -> None:
    before = cloud.get("jobs/")
    imported = jobs_as_code.run("import-jobs", "--account-id", "1", "--include-linked-id").stdout
    (jobs_as_code.directory / "jobs.yml").write_text(imported)
    jobs = yaml.safe_load(imported)["jobs"]
    assert [job["linked_id"] for job in jobs.values()] == ids(before)
    assert [job["execute_steps"] for job in jobs.values()] == [job["execute_steps"] for job in before]

    jobs_as_code.run("link", "jobs.yml")
    assert names(cloud) == [
        f"{job['name']} [[{identifier}]]" for job, identifier in zip(before, jobs, strict=True)
    ]
    # The imported file matches the API.
    assert changes(jobs_as_code.run("plan", "jobs.yml", "--json")) == []
    jobs_as_code.run("unlink", "--account-id", "1", "--identifier", next(iter(jobs)))
    assert names(cloud)[0] == before[0]["name"]
    jobs_as_code.run("unlink", "--config", "jobs.yml")
    assert names(cloud) == [job["name"] for job in before]


@pytest.mark.end_to_end
def test_jobs_as_code_knows_every_field_of_a_job(jobs_as_code: Client) -> None:
    jobs_as_code.run("import-jobs", "--account-id", "1", "--job-id", f"{QUICK}", "--check-missing-fields")


@pytest.mark.end_to_end
def test_jobs_as_code_updates_and_deactivates_jobs_that_are_not_linked(
    cloud: RunningCloud, jobs_as_code: Client
) -> None:
    jobs_as_code.run("update-jobs", jobs_file(jobs_as_code, any={"linked_id": QUICK}))
    job = cloud.get(f"jobs/{QUICK}/")
    assert (job["name"], job["settings"]["threads"], job["triggers"]["schedule"]) == ("Nightly", 2, True)
    jobs_as_code.run("deactivate-jobs", "--account-id", "1", "--job-id", f"{QUICK}")
    assert cloud.get(f"jobs/{QUICK}/")["triggers"]["schedule"] is False


@pytest.mark.end_to_end
@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"deferring_job_definition_id": SLOW}, ""),
        ({"deferring_environment_id": 2}, ""),
        ({"project_id": 7}, "The following project IDs are not valid: {7}"),
        ({"environment_id": 7}, "The following environment IDs are not valid: {7}"),
        ({"deferring_job_definition_id": 7}, "The following deferral job IDs are not valid: {7}"),
        ({"deferring_environment_id": 7}, "The following deferral environment IDs are not valid: {7}"),
    ],
)
def test_jobs_as_code_validates_references_of_jobs(
    jobs_as_code: Client, change: dict[str, Any], complaint: str
) -> None:
    file = jobs_file(jobs_as_code, nightly=change)
    done = jobs_as_code.run("validate", "--online", file, code=1 if complaint else 0)
    assert (complaint or "The config file is valid") in done.stderr


@pytest.mark.end_to_end
def test_jobs_as_code_reports_errors_of_the_api(cloud: RunningCloud, jobs_as_code: Client) -> None:
    before = names(cloud)
    file = jobs_file(jobs_as_code, nightly={"environment_id": 7})
    done = jobs_as_code.run("sync", file, "--json", code=1)
    assert "environment_id" in done.stderr
    assert json.loads(done.stdout)["apply_success"] is False
    assert names(cloud) == before

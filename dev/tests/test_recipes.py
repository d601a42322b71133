"""The recipes of docs/make-it-yours.md work on a copy. Those that run Copier: see test_copier_update.py."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values

from dev.tests.copies import clean_environment, make_copy, run
from dev.tests.recipes import apply_recipe, patched

pytestmark = pytest.mark.end_to_end

# Prints what Airflow finds in the project: its Dags and its plugins.
DAGS = """
import json
from airflow import plugins_manager
from airflow.dag_processing.dagbag import DagBag

bag = DagBag()
assert not bag.import_errors, bag.import_errors
found = {"plugins": [plugin.name for plugin in plugins_manager._get_plugins()[0]]}
for dag in bag.dags.values():
    scheduled = [] if dag.schedule is None or isinstance(dag.schedule, str) else dag.schedule
    found[dag.dag_id] = {
        "schedule": [asset.name for asset in scheduled],
        "watchers": [watcher.name for asset in scheduled for watcher in asset.watchers],
        "outlets": [asset.name for task in dag.tasks for asset in task.outlets],
        "models": [name for task in dag.tasks for name in getattr(task, "model_assets", ())],
    }
print(json.dumps(found))
"""
# Prints the account and the job that a task uses.
ACCOUNT = """
import json
from airflow.sdk import Variable
from include.dbt_cloud.hook import DbtCloudHook

hook = DbtCloudHook("dbt_conn")
found = [hook.host, hook.account_id, hook.connection.password, int(Variable.get("dbt_cloud_job_id"))]
print(json.dumps(found))
"""
# Prints what else comes from .env: the address of the webhook, and the ID of a second job.
ALERTS_AND_JOB = """
from include.dbt_cloud.alerts import WebhookNotifier
from include.dbt_cloud_jobs import JOBS

webhook = WebhookNotifier().hook
webhook.get_conn()
job_id = Variable.get("customers_job_id")
print(json.dumps([*found, webhook.base_url, JOBS[1].id, job_id]))
"""
# Prints what `make start` uses.
SETTINGS = """
import json
from scripts.settings import read_settings

settings, connection = read_settings(), read_settings().connection
print(json.dumps([connection.host, int(connection.account_id), connection.token, int(settings.job_id)]))
"""
YOURS = ["ab123.us1.dbt.com", 12345, "your-token", 67890]


def evaluate(directory: Path, code: str, env: dict[str, str] | None = None) -> Any:
    """Run Python code in a project, as Airflow imports its modules; return what it prints as JSON."""
    variables = clean_environment() | {
        "PYTHONPATH": str(directory),
        "AIRFLOW_HOME": str(directory / ".airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(directory / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(directory / "plugins"),
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
    }
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=directory, env=variables | (env or {}), capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr[-4000:]
    return json.loads(process.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def only_copy(starter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = make_copy(tmp_path_factory.mktemp("recipes") / "my-project", starter)
    run(copy, "git", "init", "--quiet")
    run(copy, "git", "add", "--all")
    run(copy, "git", "commit", "--quiet", "--message", "Start from the dbt Cloud starter")
    return copy


@pytest.fixture
def copy(only_copy: Path) -> Iterator[Path]:
    """A copy without changes."""
    yield only_copy
    run(only_copy, "git", "reset", "--quiet", "--hard")
    run(only_copy, "git", "clean", "--quiet", "-dxf")


def test_account_alerts_and_environment_are_read_from_env(copy: Path) -> None:
    for title in ("Use your account", "Send alerts to Slack", "Separate dev and prod"):
        apply_recipe(title, copy)
    variables = {name: value or "" for name, value in dotenv_values(copy / ".env").items()}
    assert evaluate(copy, SETTINGS) == YOURS
    assert evaluate(copy, ACCOUNT + ALERTS_AND_JOB, variables) == [
        *YOURS,
        "https://hooks.slack.com/services/T000/B000/secret",
        "{{ var.value.customers_job_id }}",
        "100",
    ]
    # The secrets are not in git.
    assert run(copy, "git", "status", "--short") == " M include/dbt_cloud_jobs.py\n"


def test_jobs_dags_and_assets_are_added(copy: Path) -> None:
    for title in ("Add a job and a Dag", "Run after another Dag", "Schedule a Dag on a model"):
        apply_recipe(title, copy)
    dags = evaluate(copy, DAGS)
    assert dags["build_finance"]["outlets"] == ["dbt_cloud_job_finance"]
    assert dags["load_raw_data"]["outlets"] == ["raw_data"]
    main = dags["check_before_running_dbt_cloud_job"]
    assert main["schedule"] == ["raw_data"]
    assert main["models"] == ["orders", "customers", "stores"]
    assert dags["export_stores"]["schedule"] == ["jaffle_shop.stores"]
    assert dags["export_stores"]["watchers"] == ["jaffle_shop.stores"]
    # The checks of the copy accept the additions.
    ruff = Path(sys.executable).with_name("ruff")
    run(copy, ruff, "check", "--quiet", ".")
    run(copy, ruff, "format", "--quiet", "--check", ".")
    run(copy, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", "not selectors", "tests/dags")


def test_an_existing_project_gets_the_operator_and_the_tabs(copy: Path) -> None:
    existing = copy.parent / "existing"
    (existing / "dags").mkdir(parents=True)
    diff = apply_recipe("Add it to an existing Astro project", existing)["diff"]
    dag = "from airflow.providers.dbt.cloud.operators.dbt import DbtCloudRunJobOperator\n"
    dag += "from airflow.sdk import DAG\nwith DAG('existing'):\n"
    dag += "    DbtCloudRunJobOperator(task_id='run', job_id=1, model_assets=['orders'])\n"
    (existing / "dags/existing.py").write_text(patched(dag, diff))
    found = evaluate(existing, DAGS)
    assert found["existing"]["models"] == ["orders"]
    assert "dbt_results" in found["plugins"]
    assert (existing / "requirements.txt").read_text() in (copy / "requirements.txt").read_text()


def test_a_secrets_backend_comes_before_the_environment(copy: Path) -> None:
    connection = json.loads(apply_recipe("Keep secrets in a secrets backend", copy)["json"])
    # Airflow's own backend, which reads files, for that of a cloud.
    (copy / "connections.json").write_text(json.dumps({"dbt_conn": connection}))
    (copy / "variables.json").write_text(json.dumps({"dbt_cloud_job_id": "67890"}))
    files = {f"{name}_file_path": f"{name}.json" for name in ("connections", "variables")}
    backend = {
        "AIRFLOW__SECRETS__BACKEND": "airflow.secrets.local_filesystem.LocalFilesystemBackend",
        "AIRFLOW__SECRETS__BACKEND_KWARGS": json.dumps(files),
        "AIRFLOW_VAR_DBT_CLOUD_JOB_ID": "1",
    }
    assert evaluate(copy, ACCOUNT, backend) == YOURS

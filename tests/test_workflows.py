"""What runs elsewhere, in GitHub and in containers: pinned, closed to the network, and fit for its place."""

import re
from typing import Any

import pytest
import yaml

from tests.conftest import PROJECT

OVERRIDE = PROJECT / "docker-compose.override.yml"

if not OVERRIDE.is_file():
    pytest.skip("this is the image: these files are left out of it", allow_module_level=True)

WORKFLOWS = sorted((PROJECT / ".github" / "workflows").glob("*.yaml"))


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return yaml.safe_load(OVERRIDE.read_text())["services"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_action_is_pinned_by_its_commit(path: Any) -> None:
    uses = re.findall(r"uses: (\S+)(.*)", path.read_text())
    assert uses
    for action, comment in uses:
        assert action.startswith("./") or re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action), action
        assert action.startswith("./") or re.fullmatch(r" # v[\d.]+", comment), action


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_read_and_nothing_else(path: Any) -> None:
    assert yaml.safe_load(path.read_text())["permissions"] == {"contents": "read"}


def test_every_hook_is_pinned_by_its_commit() -> None:
    revisions = re.findall(r"rev: (.*)", (PROJECT / ".pre-commit-config.yaml").read_text())
    assert revisions
    assert all(re.fullmatch(r"[0-9a-f]{40} # v[\d.]+", revision) for revision in revisions)


def test_local_hooks_run_from_the_environment_of_make() -> None:
    (venv,) = re.findall(r"^VENV := (.+)$", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    repos = yaml.safe_load((PROJECT / ".pre-commit-config.yaml").read_text())["repos"]
    (local,) = [repo for repo in repos if repo["repo"] == "local"]
    assert all(hook["entry"].startswith(f"{venv}/bin/") for hook in local["hooks"])


def test_workflows_run_what_the_readme_says() -> None:
    steps = yaml.safe_load((PROJECT / ".github/workflows/test.yaml").read_text())["jobs"]["test"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == ["make lint", "make test"]


def test_nothing_is_built_and_nothing_is_open_to_others(services: dict[str, Any]) -> None:
    for service in services.values():
        # The Astro CLI never builds what an override says.
        assert "build" not in service
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_every_airflow_service_trusts_the_local_dbt_cloud_and_waits_for_it(services: dict[str, Any]) -> None:
    for name in ("scheduler", "triggerer", "dag-processor", "api-server"):
        service = services[name]
        assert service["depends_on"] == {"local-dbt-cloud": {"condition": "service_healthy"}}
        assert service["environment"]["SSL_CERT_FILE"] == service["environment"]["REQUESTS_CA_BUNDLE"]
        assert service["volumes"] == ["local-dbt-cloud:/local-dbt-cloud:ro"]


def test_the_settings_lead_to_that_service(services: dict[str, Any]) -> None:
    settings = yaml.safe_load((PROJECT / "airflow_settings.yaml").read_text())["airflow"]
    (connection,) = settings["connections"]
    service = services["local-dbt-cloud"]
    assert connection["conn_host"] == f"local-dbt-cloud:{service['environment']['LOCAL_DBT_CLOUD_API_PORT']}"
    assert connection["conn_password"] == service["environment"]["LOCAL_DBT_CLOUD_TOKEN"]
    assert service["networks"] == ["airflow"]


def test_the_container_needs_nothing_that_is_not_locked() -> None:
    lines = (PROJECT / "include/local_dbt_cloud/requirements.txt").read_text().splitlines()
    needed = {re.match(r"[\w-]+", line)[0] for line in lines if line and not line.startswith("#")}
    lock = (PROJECT / "requirements-dev.lock").read_text()
    assert needed <= set(re.findall(r"^([\w-]+)==", lock, re.MULTILINE))

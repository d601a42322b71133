"""docker-compose.override.yml, which adds the local dbt Cloud to `astro dev start`."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from local_dbt_cloud.testing import environment_before_trust_ca

PROJECT = Path(__file__).parents[2]
FOLDER = PROJECT / "local-dbt-cloud"
OVERRIDE = PROJECT / "docker-compose.override.yml"

if not OVERRIDE.is_file():
    pytest.skip(f"needs {OVERRIDE.name}, not in this project", allow_module_level=True)


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return yaml.safe_load(OVERRIDE.read_text())["services"]


def test_nothing_is_built_or_exposed_to_the_network(services: dict[str, Any]) -> None:
    for service in services.values():
        # The Astro CLI does not build images of an override.
        assert "build" not in service
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_airflow_services_trust_and_await_local_dbt_cloud(services: dict[str, Any]) -> None:
    for name in ("scheduler", "triggerer", "dag-processor", "api-server"):
        service = services[name]
        assert service["depends_on"] == {"local-dbt-cloud": {"condition": "service_healthy"}}
        assert service["environment"]["SSL_CERT_FILE"] == service["environment"]["REQUESTS_CA_BUNDLE"]
        assert service["volumes"] == ["local-dbt-cloud:/local-dbt-cloud-data:ro"]


def test_airflow_settings_point_to_the_service(services: dict[str, Any]) -> None:
    settings = yaml.safe_load((PROJECT / "airflow_settings.yaml").read_text())["airflow"]
    (connection,) = settings["connections"]
    service = services["local-dbt-cloud"]
    assert connection["conn_host"] == f"local-dbt-cloud:{service['environment']['LOCAL_DBT_CLOUD_API_PORT']}"
    assert connection["conn_password"] == service["environment"]["LOCAL_DBT_CLOUD_TOKEN"]
    assert service["networks"] == ["airflow"]


def test_containers_mount_only_their_directory_read_only(services: dict[str, Any]) -> None:
    for name in ("install-local-dbt-cloud", "local-dbt-cloud"):
        binds = [one for one in services[name]["volumes"] if one.startswith(".")]
        assert binds == ["./local-dbt-cloud:/local-dbt-cloud:ro,z"]


def test_the_override_needs_no_recent_docker(services: dict[str, Any]) -> None:
    # start_interval needs Docker Engine 25; Podman lacks it too.
    for service in services.values():
        assert "start_interval" not in service.get("healthcheck", {})


def test_podman_can_check_the_health(services: dict[str, Any]) -> None:
    # Podman's Docker API splits the arguments of the command at spaces.
    assert all(len(argument.split()) == 1 for argument in services["local-dbt-cloud"]["healthcheck"]["test"])


def test_a_failed_installation_fails_the_start(services: dict[str, Any]) -> None:
    # A container that restarts would never be unhealthy, and the start would wait forever.
    assert "restart" not in services["install-local-dbt-cloud"]
    service = services["local-dbt-cloud"]
    assert service["restart"] == "unless-stopped"
    condition = {"condition": "service_completed_successfully"}
    assert service["depends_on"] == {"install-local-dbt-cloud": condition}


def test_the_pages_have_the_same_port_inside_and_outside(services: dict[str, Any]) -> None:
    # The links to runs contain the port.
    service = services["local-dbt-cloud"]
    port = service["environment"]["LOCAL_DBT_CLOUD_PAGES_PORT"]
    assert f"127.0.0.1:{port}:{port}" in service["ports"]


@pytest.mark.end_to_end
def test_a_read_only_folder_is_installed_once(tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    environment.mkdir()
    # Without dependencies, which take a minute: pip installs the folder and what the lock file names.
    copy = tmp_path / "local-dbt-cloud"
    shutil.copytree(FOLDER, copy, ignore=shutil.ignore_patterns("tests", "__pycache__"))
    wanted = ("hatchling", "packaging", "pathspec", "pluggy", "trove-classifiers")
    lock = re.findall(
        r"^\S+==.*\n(?: +--hash.*\n)+", (FOLDER / "requirements.lock").read_text(), re.MULTILINE
    )
    (copy / "requirements.lock").write_text("".join(one for one in lock if one.startswith(wanted)))
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    first, second = install(copy, environment), install(copy, environment)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr
    assert ("Installing" in first.stdout, second.stdout) == (True, "")
    assert (environment / "venv/bin/local-dbt-cloud").is_file()
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*")} == before


@pytest.mark.end_to_end
def test_a_failed_installation_is_reported(tmp_path: Path) -> None:
    shutil.copy(FOLDER / "install_in_container.sh", tmp_path)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "requirements.lock").write_text("no-such-package==1 --hash=sha256:" + "0" * 64)
    result = install(tmp_path, tmp_path / "environment", PIP_NO_INDEX="1")
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("The local dbt Cloud was not installed")
    assert not (tmp_path / "environment/installed").exists()


def install(folder: Path, environment: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the script that the container runs."""
    environment.mkdir(exist_ok=True)
    return subprocess.run(
        ["sh", folder / "install_in_container.sh", environment],
        env=environment_before_trust_ca() | variables, capture_output=True, text=True, check=False,
    )  # fmt: skip

"""docker-compose.override.yml, which adds the local dbt Cloud to `astro dev start`."""

from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).parents[2]
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


def test_container_mounts_only_its_directory_read_only(services: dict[str, Any]) -> None:
    binds = [one for one in services["local-dbt-cloud"]["volumes"] if one.startswith(".")]
    assert binds == ["./local-dbt-cloud:/local-dbt-cloud:ro,z"]

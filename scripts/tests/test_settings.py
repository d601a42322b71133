"""Settings of the local stack: precedence, defaults, and errors."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from scripts import settings as module
from scripts.exceptions import UserError
from scripts.settings import read_airflow_settings, read_settings
from scripts.stack import airflow_environment

REPOSITORY = module.PROJECT


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary project directory with this project's airflow_settings.yaml and no .env."""
    (tmp_path / "airflow_settings.yaml").write_text((module.PROJECT / "airflow_settings.yaml").read_text())
    monkeypatch.setattr(module, "PROJECT", tmp_path)
    return tmp_path


def test_defaults_are_the_local_stack_on_fixed_ports() -> None:
    settings = read_settings()
    assert (settings.airflow_port, settings.api_port, settings.pages_port) == (8080, 8580, 8581)
    assert settings.connection.api_url == "https://localhost:8580/api/v2/accounts/1"
    assert (settings.connection.token, settings.job_id) == ("local-token", "101")
    assert settings.is_local


def test_the_shell_takes_precedence_over_dotenv(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / ".env").write_text("AIRFLOW_PORT=9000\nLOCAL_DBT_CLOUD_API_PORT=9001\n")
    monkeypatch.setenv("LOCAL_DBT_CLOUD_API_PORT", "9002")
    settings = read_settings()
    assert (settings.airflow_port, settings.api_port) == (9000, 9002)
    assert settings.connection.host == "localhost:9002"


def test_the_example_connects_to_a_real_account(project: Path) -> None:
    example = (REPOSITORY / ".env.example").read_text()
    real_account, _, _ = example.partition("# Only for")
    (project / ".env").write_text(real_account.replace("#AIRFLOW", "AIRFLOW"))
    settings = read_settings()
    assert settings.connection.api_url == "https://ab123.us1.dbt.com/api/v2/accounts/12345"
    assert not settings.is_local
    assert settings.job_id == "67890"
    environment = airflow_environment(settings)
    assert json.loads(environment["AIRFLOW_CONN_DBT_CONN"])["password"] == "your service token"
    assert environment.get("SSL_CERT_FILE") != str(settings.ca_bundle)


def test_the_example_for_standalone_connects_to_the_local_dbt_cloud(project: Path) -> None:
    _, _, standalone = (REPOSITORY / ".env.example").read_text().partition("# Only for")
    lines = [line.removeprefix("#") for line in standalone.splitlines()[1:] if "=" in line]
    (project / ".env").write_text("\n".join(lines))
    settings = read_settings()
    assert settings.is_local
    assert settings.connection == replace(settings.connection, account_id="1", token="local-token")
    bundle = settings.ca_bundle.relative_to(project.resolve())
    assert f"SSL_CERT_FILE={bundle}" in lines
    assert f"REQUESTS_CA_BUNDLE={bundle}" in lines


def test_each_account_has_its_own_airflow_home(monkeypatch: pytest.MonkeyPatch) -> None:
    # Dags that were unpaused for one account must not run in another.
    monkeypatch.setenv("AIRFLOW_VAR_DBT_CLOUD_JOB_ID", "67890")
    homes = {read_settings().airflow_home}
    for host, login in (("ab123.us1.dbt.com", 1), ("ab123.us1.dbt.com", 2), ("localhost:1/x", 1), (127, 1)):
        fields = {"conn_type": "dbt_cloud", "host": host, "login": login, "password": "x"}
        monkeypatch.setenv("AIRFLOW_CONN_DBT_CONN", json.dumps(fields))
        settings = read_settings()
        homes.add(settings.airflow_home)
        # Airflow ignores a connection whose login is a number.
        assert json.loads(airflow_environment(settings)["AIRFLOW_CONN_DBT_CONN"])["login"] == str(login)
    assert len(homes) == 5
    assert all(home.is_relative_to(module.PROJECT / ".airflow") for home in homes)


def test_a_real_account_needs_a_job_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    # The job of airflow_settings.yaml may exist there too, and would run.
    fields = {"conn_type": "dbt_cloud", "host": "ab123.us1.dbt.com", "login": "1", "password": "x"}
    monkeypatch.setenv("AIRFLOW_CONN_DBT_CONN", json.dumps(fields))
    with pytest.raises(UserError, match="AIRFLOW_VAR_DBT_CLOUD_JOB_ID is not set"):
        read_settings()


@pytest.mark.parametrize("missing", ["login", "password"])
def test_error_of_an_incomplete_connection_names_the_field(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    fields = {"conn_type": "dbt_cloud", "host": "x", "login": "1", "password": "x"}
    del fields[missing]
    monkeypatch.setenv("AIRFLOW_CONN_DBT_CONN", json.dumps(fields))
    with pytest.raises(UserError, match=f"dbt_conn has no {missing}"):
        read_settings()


def test_equal_ports_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_DBT_CLOUD_PAGES_PORT", "8080")
    with pytest.raises(UserError, match="must differ"):
        read_settings()


def test_airflow_trusts_the_local_dbt_cloud() -> None:
    settings = read_settings()
    environment = airflow_environment(settings)
    assert environment["SSL_CERT_FILE"] == environment["REQUESTS_CA_BUNDLE"] == str(settings.ca_bundle)


def test_settings_of_another_airflow_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", "/another/airflow")
    monkeypatch.setenv("AIRFLOW_CONFIG", "/another/airflow.cfg")
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    environment = airflow_environment(read_settings())
    assert environment["AIRFLOW_HOME"].endswith("/.airflow")
    assert "AIRFLOW__CORE__EXECUTOR" not in environment
    assert "AIRFLOW_CONFIG" not in environment


def test_empty_variables_count_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AIRFLOW_VAR_DBT_CLOUD_JOB_ID", "LOCAL_DBT_CLOUD_DATA_DIR", "AIRFLOW_CONN_DBT_CONN"):
        monkeypatch.setenv(name, "")
    settings = read_settings()
    assert (settings.job_id, settings.data_dir.name) == ("101", ".local_dbt_cloud")
    assert "AIRFLOW_VAR_DBT_CLOUD_JOB_ID" not in airflow_environment(settings)


def test_local_hosts_bypass_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "intranet.example")
    assert airflow_environment(read_settings())["NO_PROXY"] == "intranet.example,localhost,127.0.0.1,::1"


@pytest.mark.parametrize("port", ["x", "0", "65536", "-1"])
def test_invalid_ports_are_rejected(monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    monkeypatch.setenv("AIRFLOW_PORT", port)
    with pytest.raises(UserError, match=r"AIRFLOW_PORT is .*: set it to a port number"):
        read_settings()


@pytest.mark.parametrize("text", ["'{}'", "secret", '["secret"]', '"secret"'])
def test_error_of_a_malformed_connection_hides_the_token(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_DBT_CONN", text)
    with pytest.raises(UserError, match=r"write it as \.env\.example shows") as error:
        read_settings()
    assert "secret" not in str(error.value)


def test_a_line_of_dotenv_that_is_no_assignment_is_rejected(project: Path) -> None:
    (project / ".env").write_text("# Mine\nAIRFLOW_PORT=9000\nAIRFLOW_VAR_DBT_CLOUD_JOB_ID 102\n")
    with pytest.raises(UserError, match=r"Cannot read line 3 of \.env: write NAME=value"):
        read_settings()


def test_a_job_id_that_is_not_a_number_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_DBT_CLOUD_JOB_ID", "build")
    with pytest.raises(UserError, match="dbt_cloud_job_id is 'build'"):
        read_settings()


@pytest.mark.parametrize("text", ["", "airflow:", "airflow: []", "{"])
def test_a_malformed_airflow_settings_file_is_rejected(project: Path, text: str) -> None:
    (project / "airflow_settings.yaml").write_text(text)
    with pytest.raises(UserError, match=r"airflow_settings\.yaml"):
        read_settings()


def test_airflow_settings_connects_to_the_local_dbt_cloud_and_says_so() -> None:
    header, _, _ = (module.PROJECT / "airflow_settings.yaml").read_text().partition("airflow:")
    assert "the local dbt Cloud only" in " ".join(header.replace("#", "").split())
    assert ".env" in header
    (connection,) = read_airflow_settings()["connections"]
    assert (connection["conn_type"], connection["conn_host"]) == ("dbt_cloud", "local-dbt-cloud:8580")
    assert connection["conn_password"] == "local-token"

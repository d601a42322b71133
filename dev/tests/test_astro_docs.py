"""docs/astro.md names the services, ports, variables and messages that exist."""

import re
from pathlib import Path

import yaml

PROJECT = Path(__file__).parents[2]
TEXT = (PROJECT / "docs/astro.md").read_text()


def test_the_services_and_ports_are_those_of_the_override() -> None:
    override = (PROJECT / "docker-compose.override.yml").read_text()
    services = yaml.safe_load(override)["services"]
    assert {"install-local-dbt-cloud", "local-dbt-cloud"} <= services.keys()
    named = set(re.findall(r"`((?:install-)?local-dbt-cloud)`", TEXT))
    assert named == {"install-local-dbt-cloud", "local-dbt-cloud"}
    variables = set(re.findall(r"(LOCAL_DBT_CLOUD_\w+_PORT)=", TEXT))
    assert len(variables) == 2
    assert all(f"${{{name}:-" in override for name in variables)


def test_the_last_section_of_the_example_is_for_standalone() -> None:
    _, _, section = (
        (PROJECT / ".env.example").read_text().partition("# Only for `astro dev start --standalone`")
    )
    (variable,) = re.findall(r"`(AIRFLOW__\w+=\w+)` in `.env` is required", TEXT)
    assert f"#{variable}\n" in section


def test_the_error_of_a_truncated_connection_is_that_of_the_hook() -> None:
    (message,) = re.findall(r"hook fails instead: `(.*?)`", TEXT, re.DOTALL)
    before, after = " ".join(message.split()).split("AIRFLOW_CONN_DBT_CONN")
    assert f"{before}{{name}}{after}" in (PROJECT / "include/dbt_cloud/exceptions.py").read_text()

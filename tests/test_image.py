"""The image that `astro deploy` builds has the Dags and what they need, and nothing local or secret."""

import re

import pytest

from tests.conftest import PROJECT
from tests.dockerignore import is_ignored

if not (PROJECT / "Makefile").is_file():
    pytest.skip("the image has only its own files", allow_module_level=True)

# In git, or written by commands, tools and users.
LOCAL_ONLY = (
    ".env", ".git/HEAD", ".venv/bin/python", ".make/venv/bin/python", ".airflow/airflow.db",
    ".local_dbt_cloud/server.pem", ".local_dbt_cloud/runs/1/profiles.yml", ".astro/standalone/airflow.db",
    ".astro/config.local.yaml", ".astro/config.yaml.lock", "logs/task.log", "dags/__pycache__/a.pyc",
    "jaffle_shop.duckdb", "airflow_settings.yaml", "local-dbt-cloud/pyproject.toml", "scripts/run.py",
    "dev/faults/trial.py", "docs/faults.md", "requirements-dev.lock", "README.md",
)  # fmt: skip
DEPLOYED = ("dags", "include", "plugins", "tests")


def in_image() -> list[str]:
    """Return the files of this working tree that the image contains."""
    tops = [top for top in PROJECT.iterdir() if not is_ignored(PROJECT, top.name)]
    files = [path for top in tops for path in [top, *top.rglob("*")] if path.is_file()]
    names = [path.relative_to(PROJECT).as_posix() for path in files]
    return [name for name in names if not is_ignored(PROJECT, name)]


def test_the_image_contains_the_dags_and_what_they_need() -> None:
    assert {
        "dags/check_before_running_dbt_cloud_job.py",
        "include/__init__.py",
        "include/dbt_cloud/hook.py",
        "requirements.txt",
        "packages.txt",
        ".astro/test_dag_integrity_default.py",
        ".astro/dag_integrity_exceptions.txt",
    } <= set(in_image())


def test_the_image_contains_all_sources_of_the_deployed_folders() -> None:
    sources = {
        path.relative_to(PROJECT).as_posix()
        for folder in DEPLOYED
        for path in (PROJECT / folder).rglob("*")
        if path.is_file() and path.suffix in (".py", ".html", ".js", ".css", ".yaml")
    }
    assert sources
    assert sources <= set(in_image())


def test_the_image_has_no_dbt() -> None:
    # dbt's packages are dbt-core, dbt-duckdb ...; the provider is apache-airflow-providers-dbt-cloud.
    requirements = (PROJECT / "requirements.txt").read_text().splitlines()
    assert not [line for line in requirements if line.startswith("dbt")]


@pytest.mark.parametrize("path", LOCAL_ONLY)
def test_the_image_contains_nothing_local_or_secret(path: str) -> None:
    assert is_ignored(PROJECT, path)


def test_no_file_in_the_image_contains_the_local_token() -> None:
    for path in in_image():
        if not path.startswith("tests/"):
            assert b"local-token" not in (PROJECT / path).read_bytes(), path


def test_the_dockerfile_only_names_the_runtime() -> None:
    lines = (PROJECT / "Dockerfile").read_text().split("\n")
    assert re.fullmatch(r"FROM astrocrpublic\.azurecr\.io/runtime:\d+\.\d+-\d+(-python-3\.\d+)?", lines[0])
    assert lines[1:] == [""]

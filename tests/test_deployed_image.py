"""What `astro deploy` puts into the image: the Dags and what they need, nothing local, nothing secret."""

import re

import pytest

from tests.conftest import PROJECT

if not (PROJECT / "Makefile").is_file():
    pytest.skip("this is the image: what is left out of it is not here to be seen", allow_module_level=True)

# What the commands, the tools and the users leave in the tree beside what git holds.
LOCAL_ONLY = (
    ".env", ".git/HEAD", ".venv/bin/python", ".airflow/airflow.db", ".local_dbt_cloud/server.pem",
    ".local_dbt_cloud/runs/1/profiles.yml", ".astro/standalone/airflow.db", "logs/task.log",
    "dags/__pycache__/a.pyc", "jaffle_shop.duckdb", "airflow_settings.yaml",
)  # fmt: skip


def ignored(path: str) -> bool:
    """Return whether .dockerignore leaves a path out; it has plain paths, and ** for any folder."""
    verdict = False
    for line in (PROJECT / ".dockerignore").read_text().splitlines():
        rule = line.strip().rstrip("/")
        if not rule or rule.startswith("#"):
            continue
        assert not re.search(r"[!?\[]|[^*/]\*\*|\*\*[^/]", rule), f"this test does not know the rule {rule!r}"
        pattern = re.escape(rule).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
        verdict = verdict or re.fullmatch(rf"{pattern}(/.*)?", path) is not None
    return verdict


def files_of_the_project() -> list[str]:
    left_out = (".git", ".venv", ".airflow", ".local_dbt_cloud")
    paths = [path for top in PROJECT.iterdir() if top.name not in left_out for path in [top, *top.rglob("*")]]
    return [path.relative_to(PROJECT).as_posix() for path in paths if path.is_file()]


def in_image() -> list[str]:
    return [path for path in files_of_the_project() if not ignored(path)]


def test_the_image_holds_the_dags_and_what_they_need() -> None:
    assert {
        "dags/check_before_running_dbt_cloud_job.py",
        "include/__init__.py",
        "include/dbt_cloud/hook.py",
        "requirements.txt",
        "packages.txt",
        ".astro/test_dag_integrity_default.py",
        ".astro/dag_integrity_exceptions.txt",
    } <= set(in_image())


def test_the_image_holds_nothing_of_the_local_dbt_cloud() -> None:
    assert not [
        path
        for path in in_image()
        if path.startswith(("include/local_dbt_cloud", "include/jaffle_shop", "scripts"))
        or path.endswith(".lock")
    ]


def test_the_image_has_no_dbt() -> None:
    # The provider's own name begins with it, dbt's packages are dbt-core, dbt-duckdb ...
    requirements = (PROJECT / "requirements.txt").read_text().splitlines()
    assert not [line for line in requirements if line.startswith("dbt")]


@pytest.mark.parametrize("path", LOCAL_ONLY)
def test_the_image_holds_nothing_local_or_secret(path: str) -> None:
    assert ignored(path)


def test_no_file_in_the_image_holds_the_local_token() -> None:
    for path in in_image():
        if not path.startswith("tests/"):
            assert b"local-token" not in (PROJECT / path).read_bytes(), path


def test_the_dockerfile_is_a_bare_from() -> None:
    lines = (PROJECT / "Dockerfile").read_text().split("\n")
    assert re.fullmatch(r"FROM astrocrpublic\.azurecr\.io/runtime:\d+\.\d+-\d+", lines[0])
    assert lines[1:] == [""]

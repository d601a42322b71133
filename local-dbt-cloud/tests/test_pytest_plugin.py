"""The pytest plugin in separate pytest runs, and the wheel in a separate virtual environment."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from local_dbt_cloud.testing import environment_before_trust_ca, trust_ca

PACKAGE = Path(__file__).parents[1]
BIN = Path(sys.executable).parent

README = (PACKAGE / "README.md").read_text(encoding="utf-8")
EXAMPLE, CONFTEST, DAG_TEST = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def run_pytest(python: Path, directory: Path, *arguments: str) -> str:
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=directory, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_fixture_serves_and_resets_the_demo_account(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("""
import json, os, subprocess, sys

def test_first(local_dbt_cloud):
    local_dbt_cloud.pause()
    assert local_dbt_cloud.trigger(101)["id"] == 1
    connection = json.loads(local_dbt_cloud.connection)
    assert (connection["login"], connection["password"]) == ("1", local_dbt_cloud.token)
    # Another process trusts it with the environment that the fixture names.
    script = "import httpx, sys; print(httpx.get(sys.argv[1]).status_code)"
    command = [sys.executable, "-c", script, local_dbt_cloud.url]
    environment = os.environ | local_dbt_cloud.environment | {"NO_PROXY": "*"}
    assert subprocess.check_output(command, env=environment).strip() == b"200"

def test_second_finds_nothing_of_the_first(local_dbt_cloud):
    assert local_dbt_cloud.runs() == []
""")
    assert "2 passed" in run_pytest(Path(sys.executable), tmp_path)


def test_account_fixture_replaces_the_demo_account(tmp_path: Path, tiny_account: Path) -> None:
    account = tiny_account.read_text().replace("id: 1\n  name: Tests", "id: 7\n  name: Yours")
    tiny_account.write_text(account)
    (tmp_path / "test_it.py").write_text(f"""
import pytest
from local_dbt_cloud.testing import environment_before_trust_ca, trust_ca
from pathlib import Path

@pytest.fixture(scope="session")
def local_dbt_cloud_account():
    return Path({str(tiny_account)!r})

def test_it(local_dbt_cloud):
    assert local_dbt_cloud.account_id == 7
    assert [job["id"] for job in local_dbt_cloud.get("jobs/")] == [1, 2, 3, 4]
""")
    assert "1 passed" in run_pytest(Path(sys.executable), tmp_path)


def test_invalid_account_file_is_reported(tmp_path: Path) -> None:
    from local_dbt_cloud.testing import serve

    (tmp_path / "account.yaml").write_text("account: {id: 1}")
    with pytest.raises(RuntimeError, match=r"did not start: .*account.yaml is invalid at account.name"):
        with serve(tmp_path / "data", tmp_path / "account.yaml"):
            pass


def test_plugin_imports_its_dependencies_lazily(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import sys\n\ndef test_it():\n    assert not {'httpx', 'fastapi', 'trustme'} & sys.modules.keys()\n"
    )
    run_pytest(Path(sys.executable), tmp_path, "-p", "no:anyio", "-p", "no:hypothesispytest")


@pytest.mark.end_to_end
def test_dag_is_tested_in_the_lines_of_the_readme(tmp_path: Path) -> None:
    pytest.importorskip(
        "airflow.providers.dbt.cloud", reason="needs the Airflow provider, not installed here"
    )
    assert len(DAG_TEST.strip().splitlines()) <= 12
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_dag.py").write_text(DAG_TEST)
    assert "1 passed" in run_pytest(Path(sys.executable), tmp_path)


@pytest.mark.end_to_end
def test_each_worker_of_xdist_has_its_own_local_dbt_cloud(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"test_{name}.py").write_text(f"""
from pathlib import Path

def test_it(local_dbt_cloud, worker_id):
    assert local_dbt_cloud.trigger(101)["id"] == 1
    (Path({str(tmp_path)!r}) / worker_id).write_text(local_dbt_cloud.url)
""")
    run_pytest(Path(sys.executable), tmp_path, "-n", "2", "--dist", "loadfile")
    assert len({(tmp_path / worker).read_text() for worker in ("gw0", "gw1")}) == 2


def test_account_can_be_declared_in_code(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("""
import pytest

@pytest.fixture(scope="session")
def local_dbt_cloud_account():
    return {
        "account": {"id": 7, "name": "Ours"},
        "projects": [{"id": 1, "name": "Shop"}],
        "environments": [{"id": 1, "project_id": 1, "name": "P", "database": "x.duckdb", "schema": "s"}],
        "jobs": [{"id": 9, "environment_id": 1, "name": "Nightly", "execute_steps": ["dbt build"],
                  "simulation": [{"status": "success"}]}],
    }

def test_it(local_dbt_cloud):
    assert local_dbt_cloud.account_id == 7
    assert local_dbt_cloud.wait(local_dbt_cloud.trigger(9)["id"])["is_success"]
""")
    assert "1 passed" in run_pytest(Path(sys.executable), tmp_path)


@pytest.mark.end_to_end
def test_wheel_works_without_the_source_tree(tmp_path: Path) -> None:
    # A copy: building leaves nothing in the tree.
    source = tmp_path / "source"
    shutil.copytree(PACKAGE / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(PACKAGE / name, source)
    uv, environment = shutil.which("uv", path=f"{BIN}:{os.environ['PATH']}"), tmp_path / "environment"
    assert uv
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    build += ["--directory", str(tmp_path / "dist")]
    subprocess.run(build, cwd=source, check=True, capture_output=True, timeout=120)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    base = Path(getattr(sys, "_base_executable", sys.executable))
    subprocess.run([base, "-m", "venv", "--without-pip", environment], check=True, timeout=120)
    install = [uv, "pip", "install", "--quiet", "--python", str(environment / "bin" / "python")]
    install += ["--constraint", str(PACKAGE / "requirements.lock"), f"{wheel}[pytest]"]
    subprocess.run(install, check=True, timeout=300, env=environment_before_trust_ca())
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "test_example.py").write_text(EXAMPLE)
    assert "1 passed" in run_pytest(environment / "bin" / "python", outside)
    shown = subprocess.run(
        [environment / "bin" / "local-dbt-cloud", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert re.search(r"--account ACCOUNT", shown)


def test_authorities_trusted_before_trust_ca_can_be_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CA_BEFORE_LOCAL_DBT_CLOUD", raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", "/a/company.pem")
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    for _ in range(2):
        trust_ca()
        assert os.environ["SSL_CERT_FILE"] == os.environ["REQUESTS_CA_BUNDLE"] != "/a/company.pem"
    before = environment_before_trust_ca()
    assert before["SSL_CERT_FILE"] == "/a/company.pem"
    assert "REQUESTS_CA_BUNDLE" not in before

"""Links, commands, Dags, paths, error messages and versions in the documentation are right."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
TEXT = (PROJECT / "README.md").read_text()
DOCUMENTS = (
    "README.md", "CONTRIBUTING.md", "AGENTS.md", "CHANGELOG.md", "SECURITY.md", "docs/astro.md",
    "local-dbt-cloud/README.md",
)  # fmt: skip


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_to_files(name: str) -> None:
    paths = re.findall(r"\]\((?!http|#)([^)#]+)", (PROJECT / name).read_text())
    assert [path for path in paths if not (PROJECT / name).parent.joinpath(path).exists()] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_commands_exist(name: str) -> None:
    text = (PROJECT / name).read_text()
    output = subprocess.run(["make", "help"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    targets = set(re.findall(r"^make ([a-z-]+)", output, re.M))
    named = re.findall(r"make ([a-z][a-z-]+)`", text) + re.findall(r"^make ([a-z-]+)$", text, re.M)
    assert set(named) <= targets
    for line in re.findall(r"\.make/venv/bin/pytest.*?(?=`|$)", text, re.M):
        for word in shlex.split(line, comments=True):
            assert "/" not in word or word.startswith(".make") or (PROJECT / word).exists(), line


def test_the_rm_command_deletes_all_optional_parts() -> None:
    (command,) = re.findall(r"^rm -r (.*)$", TEXT, re.M)
    assert all((PROJECT / name).exists() for name in command.split())
    optional = {path.parent.name for path in PROJECT.glob("*/commands.mk")}
    assert optional <= set(command.split())


def test_the_table_has_all_dags() -> None:
    table = re.findall(r"^\| \[(\w+)\]\(dags/(\w+)\.py\)", TEXT, re.M)
    assert {name for name, _ in table} == {path for _, path in table}
    assert {name for name, _ in table} == {path.stem for path in (PROJECT / "dags").glob("*.py")}


def test_the_layout_has_all_folders() -> None:
    (layout,) = re.findall(r"## Layout\n\n```\n(.*?)```", TEXT, re.S)
    names = [line.split()[0] for line in layout.splitlines() if line]
    assert [name for name in names if not (PROJECT / name).exists()] == []
    tracked = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=True)
    folders = {path.split("/")[0] for path in tracked.stdout.splitlines() if "/" in path}
    assert {name for name in folders if not name.startswith(".")} <= {name.split("/")[0] for name in names}


def test_the_example_imports() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    exec(code, {})


def test_error_messages_are_in_the_code() -> None:
    (table,) = re.findall(r"## Troubleshooting\n(.*?)\n## ", TEXT, re.S)
    code = "".join(
        path.read_text()
        for part in ("include", "scripts", "local-dbt-cloud/src")
        for path in (PROJECT / part).rglob("*.py")
    )
    cells = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    quoted = [part for cell in cells for part in re.findall(r"`(.+?)`", cell)]
    assert len(quoted) > 6
    for text in quoted:
        for part in text.replace("Port 8080", "Port").split(" ... "):
            assert part.removesuffix(" ...") in code, text


def test_the_versions_are_those_of_the_lock_files() -> None:
    lock = (PROJECT / "requirements-dev.lock").read_text()
    (tag,) = re.findall(r"runtime:(\S+)", (PROJECT / "Dockerfile").read_text())
    versions = re.search(
        r"^Airflow (\S+) \(Astro Runtime (\S+)\), the dbt Cloud provider (\S+), dbt (\S+)", TEXT, re.M
    )
    assert versions
    airflow, runtime, provider, dbt = versions.groups()
    assert f"\napache-airflow=={airflow} " in lock
    assert tag.startswith(runtime)
    assert f"\napache-airflow-providers-dbt-cloud=={provider} " in lock
    assert f"\ndbt-core=={dbt}." in (PROJECT / "local-dbt-cloud/requirements.lock").read_text()

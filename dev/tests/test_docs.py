"""The README names what is there: links, commands, Dags, files, errors, sentences, versions."""

import re
import shlex

import pytest

from tests.conftest import PROJECT

README = PROJECT / "README.md"
if not (PROJECT / "Makefile").is_file():
    pytest.skip("this is the image: what the README speaks of is left out of it", allow_module_level=True)

TEXT = README.read_text()
CONTRIBUTING = (PROJECT / "CONTRIBUTING.md").read_text()


@pytest.mark.parametrize("text", [TEXT, CONTRIBUTING], ids=["README", "CONTRIBUTING"])
def test_every_link_leads_to_a_file(text: str) -> None:
    paths = re.findall(r"\]\((?!http)([^)#]+)", text)
    assert paths
    assert [path for path in paths if not (PROJECT / path).exists()] == []


@pytest.mark.parametrize("text", [TEXT, CONTRIBUTING], ids=["README", "CONTRIBUTING"])
def test_every_command_exists(text: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.M))
    named = re.findall(r"make ([a-z][a-z-]+)`", text) + re.findall(r"^make ([a-z-]+)$", text, re.M)
    assert named
    assert set(named) <= targets
    for line in re.findall(r"\.venv/bin/pytest.*?(?=`|$)", text, re.M):
        for word in shlex.split(line, comments=True):
            assert not word.startswith("tests/") or (PROJECT / word).exists(), line


def test_the_dags_are_those_of_the_table() -> None:
    table = re.findall(r"^\| \[(\w+)\]\(dags/(\w+)\.py\)", TEXT, re.M)
    assert {name for name, _ in table} == {path for _, path in table}
    assert {name for name, _ in table} == {path.stem for path in (PROJECT / "dags").glob("*.py")}


def test_the_layout_is_that_of_the_project() -> None:
    layout = re.search(r"## Layout\n\n```\n(.*?)```", TEXT, re.S)[1]
    parent = ""
    for line in layout.splitlines():
        name = line.split()[0]
        assert (PROJECT / (parent if line.startswith(" ") else "") / name).exists(), line
        parent = parent if line.startswith(" ") else name


def test_the_import_works() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    exec(code, {})


def test_errors_and_sentences_are_those_of_the_code() -> None:
    table = re.search(r"## When something goes wrong\n(.*?)\n## ", TEXT, re.S)[1]
    code = "".join(
        path.read_text() for room in ("include", "scripts") for path in (PROJECT / room).rglob("*.py")
    )
    seen = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    quoted = [part for cell in seen for part in re.findall(r"`(.+?)`", cell)]
    assert len(quoted) > 6
    for text in quoted:
        for part in text.replace("Port 8080", "Port").split(" ... "):
            assert part.removesuffix(" ...") in code, text


def test_the_versions_are_those_that_are_installed() -> None:
    lock = (PROJECT / "requirements-dev.lock").read_text()
    tag = re.search(r"runtime:(\S+)", (PROJECT / "Dockerfile").read_text())[1]
    versions = re.search(
        r"^Airflow (\S+) \(Astro Runtime (\S+)\), the dbt Cloud provider (\S+), dbt (\S+)", TEXT, re.M
    )
    assert versions
    airflow, runtime, provider, dbt = versions.groups()
    assert f"\napache-airflow=={airflow} " in lock
    assert tag.startswith(runtime)
    assert f"\napache-airflow-providers-dbt-cloud=={provider} " in lock
    assert f"\ndbt-core=={dbt}." in lock

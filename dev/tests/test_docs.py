"""Links, commands, Dags, paths, error messages, numbers and versions in the documentation are right."""

import math
import re
import shlex
import subprocess
from datetime import timedelta
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from include.dbt_cloud import poller, submitter
from include.dbt_cloud.hook import PAGE_SIZE, DbtCloudHook
from include.dbt_cloud.operator import DbtCloudRunJobOperator
from include.dbt_cloud.run_cursor import OVERLAP
from include.dbt_cloud.run_events import DbtCloudRunEventTrigger
from include.dbt_cloud.run_tags import run_tag

PROJECT = Path(__file__).parents[2]
TEXT = (PROJECT / "README.md").read_text()
COPY_TEXT = (PROJECT / "README.md.jinja").read_text()
HOW_IT_WORKS = (PROJECT / "docs/how-it-works.md").read_text()
DOCUMENTS = (
    "README.md", "CONTRIBUTING.md", "AGENTS.md", "CHANGELOG.md", "SECURITY.md", "local-dbt-cloud/README.md",
    *sorted(path.relative_to(PROJECT).as_posix() for path in (PROJECT / "docs").glob("*.md")),
)  # fmt: skip


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_to_files_and_headings(name: str) -> None:
    page = PROJECT / name
    for path, anchor in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", page.read_text()):
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


def test_the_readme_is_short() -> None:
    assert len(TEXT.splitlines()) <= 130


def table(text: str, heading: str) -> dict[str, dict[str, str]]:
    """Return the rows of the first table below a heading, by their first cells, each by column."""
    lines = text.split(f"\n## {heading}", 1)[1].splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    columns = rows[0][1:]
    end = next((n for n, row in enumerate(rows) if n > 1 and re.fullmatch("-+:?", row[0])), len(rows) + 1)
    return {name: dict(zip(columns, cells, strict=True)) for name, *cells in rows[2 : end - 1]}


def test_the_readme_compares_what_the_generated_pages_measured() -> None:
    ours, stock = "this project", "tutorial, stock provider"
    rows = [tuple(row[column] for column in (ours, stock)) for row in table(TEXT, "What it adds").values()]
    cells = re.findall(r"^\|.*?\| \*\*([✓✗]).*\| \*\*([✓✗])", (PROJECT / "docs/faults.md").read_text(), re.M)
    passed = [f"{column.count('✓')} of {len(cells)}" for column in zip(*cells, strict=True)]
    benchmarks = (PROJECT / "docs/benchmarks.md").read_text()
    check = table(benchmarks, "Check whether")["10,000 runs of history: requests"]
    wait = table(benchmarks, "Waiting for runs")["100 runs waiting: requests per poll"]
    lag = table(benchmarks, "Lag")["median, seconds"]
    measured = [
        (check["ours"], check["tutorial"]),
        (wait["ours"], wait["provider, same interval"]),
        (lag["ours"], lag["provider, default"]),
    ]
    assert rows == [tuple(passed), *((one, other.split(" (")[0]) for one, other in measured)]


def test_the_readme_of_a_copy_agrees_with_the_starters() -> None:
    def dags(text: str) -> list[str]:
        return re.findall(r"^\| .*\(dags/.*$", text, re.M)

    def layout(text: str) -> set[str]:
        (block,) = re.findall(r"## Layout\n\n```\n(.*?)```", text, re.S)
        return {line for line in block.splitlines() if line and not line.startswith("{")}

    assert dags(COPY_TEXT) == dags(TEXT) != []
    promise = TEXT.split("\n\n")[1].split(" This is")[0]
    assert promise.endswith(".")
    assert promise in COPY_TEXT
    for command in re.findall(r"^make .*$", TEXT, re.M):
        assert command in COPY_TEXT
    # Tests of a copy are fewer.
    assert {line for line in layout(COPY_TEXT) - layout(TEXT) if not line.startswith("tests/")} == set()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_commands_exist(name: str) -> None:
    text = (PROJECT / name).read_text()
    output = subprocess.run(["make", "help"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    targets = set(re.findall(r"^make ([a-z-]+)", output, re.M))
    named = re.findall(r"make ([a-z][a-z-]+)`", text) + re.findall(r"^make ([a-z-]+)(?= *$| +#)", text, re.M)
    assert set(named) <= targets
    for line in re.findall(r"\.make/venv/bin/pytest.*?(?=`|$)", text, re.M):
        for word in shlex.split(line, comments=True):
            assert "/" not in word or word.startswith(".make") or (PROJECT / word).exists(), line


def test_the_rm_command_deletes_all_optional_parts() -> None:
    (command,) = re.findall(r"^rm -r (.*)$", (PROJECT / "docs/make-it-yours.md").read_text(), re.M)
    assert all((PROJECT / name).exists() for name in command.split())
    # Not those of the workflows: a clone keeps them.
    optional = {path.parent.name for path in PROJECT.glob("[!.]*/commands.mk")}
    assert optional <= set(command.split())


def test_the_table_has_all_dags_and_their_schedules() -> None:
    rows = re.findall(r"^\| [^|]+ \| \[(\w+)\]\(dags/(\w+)\.py\) \| ([^|]+) \|$", TEXT, re.M)
    assert {name for name, *_ in rows} == {path.stem for path in (PROJECT / "dags").glob("*.py")}
    for name, path, starts in rows:
        (schedule,) = re.findall(r"^    schedule=(.+),$", (PROJECT / f"dags/{path}.py").read_text(), re.M)
        words = {"by hand": "None", "daily": '"@daily"'}
        assert name == path
        assert schedule == words[starts] if starts in words else schedule.startswith("["), name


def test_the_layout_has_all_folders() -> None:
    (layout,) = re.findall(r"## Layout\n\n```\n(.*?)```", TEXT, re.S)
    names = [line.split()[0] for line in layout.splitlines() if line]
    assert [name for name in names if not (PROJECT / name).exists()] == []
    tracked = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=True)
    folders = {path.split("/")[0] for path in tracked.stdout.splitlines() if "/" in path}
    assert {name for name in folders if not name.startswith(".")} <= {name.split("/")[0] for name in names}


def test_the_python_example_of_the_readme_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    exec(code, {})


def test_error_messages_are_in_the_code() -> None:
    page = (PROJECT / "docs/troubleshooting.md").read_text()
    code = "".join(
        path.read_text()
        for part in ("dags", "include", "scripts", "local-dbt-cloud/src")
        for path in (PROJECT / part).rglob("*.py")
    )
    cells = re.findall(r"^\| (`.*?) \|", page, re.M)
    quoted = [text for cell in cells for text in re.findall(r"`(.+?)`", cell)]
    assert len(quoted) > 15
    # A message may span lines of code.
    joined = re.sub(r'"\s+f?"', "", code)
    assert [text for text in quoted if text.replace("Port 8080", "Port {port}") not in joined] == []


def test_the_numbers_of_how_it_works_are_those_of_the_code() -> None:
    operator, event = (signature(one).parameters for one in (DbtCloudRunJobOperator, DbtCloudRunEventTrigger))
    interval, budget = operator["check_interval"].default, DbtCloudHook().max_requests_per_minute
    facts = [
        f"among the\njob's runs for {submitter.CONSISTENCY_WINDOW} seconds",
        {3: "at most three times in all"}[submitter.MAX_SUBMIT_ATTEMPTS],
        f"up to {PAGE_SIZE} runs",
        f"at most {budget} such requests",
        {300: "up to five minutes"}[poller.MAX_PAUSE],
        f"After {operator['outage_tolerance'].default / 60:g} minutes\n(`outage_tolerance`)",
        {5: "one request every five seconds"}[event["poll_interval"].default],
        f"{ {10: 'ten'}[OVERLAP // timedelta(minutes=1)] } minutes after another",
    ]
    assert [fact for fact in facts if fact not in HOW_IT_WORKS] == []
    rows = table(HOW_IT_WORKS, "How often it polls")
    for runs, row in rows.items():
        most = int(runs.split(" to ")[-1].replace(",", ""))
        requests = math.ceil(most / PAGE_SIZE)
        assert row["requests per poll"] == str(requests)
        seconds = max(interval, 60 * requests / budget)
        assert row["seconds between two polls"].split(" ")[0] == f"{seconds:g}"


def test_the_example_of_a_cause_has_the_form_of_a_tag() -> None:
    ti: Any = SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1, id=uuid4())
    form = re.sub(r"[0-9a-f]", "x", run_tag(ti, "deployment").removeprefix("[airflow "))
    (example,) = re.findall(r"^Triggered by Airflow: .* \[airflow (.*)$", HOW_IT_WORKS, re.M)
    assert re.sub(r"[0-9a-f]", "x", example) == form


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

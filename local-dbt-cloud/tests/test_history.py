"""Generated history, and the cost of lists in a long history."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from local_dbt_cloud.history import fill_history
from local_dbt_cloud.run_status import RunStatus
from running_cloud import RunningCloud, running_cloud

RUNS = 20_000
MAX_STEPS_PER_RUN = 15

# First and last pages in each order, and filters that match many, few and no runs.
LISTS = (
    "order_by=-id&limit=1",
    f"order_by=-id&offset={RUNS - 100}",
    "order_by=-created_at",
    "order_by=finished_at",
    f"order_by=created_at&offset={RUNS - 100}",
    "job_definition_id=101&order_by=-created_at&limit=1",
    "job_definition_id=101&status__in=[1,2,3]&order_by=-created_at&limit=1",
    "status__in=[10,20]&order_by=-created_at",
    "status=30&order_by=-finished_at",
    "job_definition_id=102&order_by=-finished_at&offset=5000",
    "environment_id=1&order_by=-id",
    "has_docs_generated=true",
    "dbt_version=none",
    "pk__in=[5,17]",
    "created_at__range=[2020-01-01,2099-01-01]&offset=10000",
    "finished_at__range=[2020-01-01,2099-01-01]&order_by=-created_at&offset=10000",
    "job_definition_id=101&created_at__range=[2020-01-01,2099-01-01]&order_by=-finished_at&offset=5000",
)


def fill(cloud: RunningCloud, count: int) -> int:
    with cloud.service.sessions.begin() as session:
        return fill_history(session, count)


def test_history_has_finished_runs_of_all_jobs_in_order(cloud: RunningCloud) -> None:
    before = cloud.add_run(RunStatus.SUCCESS)
    assert fill(cloud, 101) == 100
    runs = cloud.get("runs/", order_by="created_at", limit=100, id__gt=before)
    assert [run["id"] for run in runs] == list(range(before + 1, before + 101))
    assert {run["job_definition_id"] for run in runs} == {100, 101, 102}
    assert {run["status_humanized"] for run in runs} == {"Success", "Error", "Cancelled"}
    for run in runs:
        assert run["created_at"] < run["dequeued_at"] < run["started_at"] < run["finished_at"]
    assert cloud.get(f"runs/{before}/")["created_at"] < runs[0]["created_at"]


def test_existing_runs_count_as_history(cloud: RunningCloud) -> None:
    assert (fill(cloud, 50), fill(cloud, 50), fill(cloud, 20), fill(cloud, 60)) == (50, 0, 0, 10)


@pytest.fixture(scope="module")
def clouds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningCloud, RunningCloud]]:
    """A local dbt Cloud with a short history and one with a long history."""
    directory: Path = tmp_path_factory.mktemp("history")
    with running_cloud(directory / "short") as short, running_cloud(directory / "long", history=RUNS) as long:
        fill(short, 200)
        yield short, long


@contextmanager
def statements_of(cloud: RunningCloud, callback: Callable[[Any, str], None]) -> Iterator[None]:
    """Call ``callback`` with the cursor and text of each SQL statement while the block runs."""

    def listener(_: Any, cursor: Any, statement: str, *__: Any) -> None:
        callback(cursor, statement)

    engine = cloud.service.sessions.kw["bind"]
    event.listen(engine, "before_cursor_execute", listener)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", listener)


@pytest.mark.end_to_end
@pytest.mark.parametrize("query", LISTS)
def test_list_costs_a_few_sqlite_steps_per_run(clouds: tuple[RunningCloud, RunningCloud], query: str) -> None:
    _, long = clouds
    thousands = 0

    def count() -> None:
        nonlocal thousands
        thousands += 1

    # Unlike seconds, steps of SQLite's virtual machine are the same on every machine. Counting index entries
    # takes a few steps per run; sorting rows takes several times as many.
    with statements_of(long, lambda cursor, _: cursor.connection.set_progress_handler(count, 1000)):
        assert long.client.get(f"runs/?{query}").status_code == 200
    assert thousands * 1000 < MAX_STEPS_PER_RUN * RUNS


@pytest.mark.parametrize("query", ["order_by=-id", "status__in=[1,2,3]"])
def test_list_needs_at_most_eight_statements(clouds: tuple[RunningCloud, RunningCloud], query: str) -> None:
    short, _ = clouds
    for _ in range(100):
        short.add_run(RunStatus.QUEUED)
    statements: list[str] = []
    related = "include_related=trigger,job,environment,run_steps"
    with statements_of(short, lambda _, statement: statements.append(statement)):
        assert len(short.client.get(f"runs/?{query}&{related}").json()["data"]) == 100
    assert len(statements) <= 8

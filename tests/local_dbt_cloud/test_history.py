"""History on demand, and lists that stay quick however long the history is."""

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import event

from include.local_dbt_cloud.history import fill_history
from include.local_dbt_cloud.store import RunStatus
from tests.running_cloud import RunningCloud, running_cloud

RUNS = 20_000

# The first and last pages in each order, and filters that leave many, few and none.
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
)


def fill(cloud: RunningCloud, count: int) -> int:
    with cloud.service.sessions.begin() as session:
        return fill_history(session, count)


def test_history_is_finished_runs_of_all_jobs_in_the_order_of_time(cloud: RunningCloud) -> None:
    before = cloud.add_run(RunStatus.SUCCESS)
    assert fill(cloud, 101) == 100
    runs = cloud.get("runs/", order_by="created_at", limit=100, id__gt=before)
    assert [run["id"] for run in runs] == list(range(before + 1, before + 101))
    assert {run["job_definition_id"] for run in runs} == {101, 102}
    assert {run["status_humanized"] for run in runs} == {"Success", "Error", "Cancelled"}
    for run in runs:
        assert run["created_at"] < run["dequeued_at"] < run["started_at"] < run["finished_at"]
    assert cloud.get(f"runs/{before}/")["created_at"] < runs[0]["created_at"]


def test_history_that_is_there_already_is_not_made_again(cloud: RunningCloud) -> None:
    assert (fill(cloud, 50), fill(cloud, 50), fill(cloud, 20), fill(cloud, 60)) == (50, 0, 0, 10)


@pytest.fixture(scope="module")
def clouds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningCloud, RunningCloud]]:
    """One with a short history and one with a long one."""
    directory: Path = tmp_path_factory.mktemp("history")
    with running_cloud(directory / "short") as short, running_cloud(directory / "long", history=RUNS) as long:
        fill(short, 200)
        yield short, long


def milliseconds(cloud: RunningCloud, query: str) -> float:
    def once() -> float:
        begin = time.perf_counter()
        assert cloud.client.get(f"runs/?{query}").status_code == 200
        return (time.perf_counter() - begin) * 1000

    once()
    return statistics.median(once() for _ in range(7))


@pytest.mark.parametrize("query", LISTS)
def test_a_list_costs_about_the_same_in_a_hundred_times_the_history(
    clouds: tuple[RunningCloud, RunningCloud], query: str
) -> None:
    short, long = clouds
    # The page of 100 runs itself takes most of the time, so that a scan and a sort of all runs stand out.
    page = milliseconds(short, "limit=100")
    assert milliseconds(long, query) < 4 * page


def test_a_list_is_a_handful_of_statements_however_many_runs_it_holds(
    clouds: tuple[RunningCloud, RunningCloud],
) -> None:
    _, long = clouds
    statements: list[str] = []
    note: Callable[..., None] = lambda connection, cursor, statement, *_: statements.append(statement)  # noqa: E731
    engine = long.service.sessions.kw["bind"]
    event.listen(engine, "before_cursor_execute", note)
    try:
        assert (
            len(long.get("runs/", order_by="-id", include_related="trigger,job,environment,run_steps")) == 100
        )
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert len(statements) <= 8

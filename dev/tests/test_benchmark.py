"""The benchmark in short: its counts and ratios hold, and what it writes is what it measured."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.benchmark import check, make_run, parse, report
from dev.benchmark.__main__ import MEASUREMENTS
from dev.benchmark.context import BenchmarkContext
from dev.benchmark.dbt_cloud import local_dbt_cloud
from dev.benchmark.part import OURS, PROVIDER, TUTORIAL, Computed, Part, Row, Target
from dev.benchmark.waiting import HANDFUL, Waiting, wait
from dev.benchmark.workload import run_workload
from dev.temporary_stack import TemporaryDbtCloud
from scripts.failure import Failure
from scripts.progress import Progress
from scripts.settings import PROJECT

HISTORY = 2000
WAITING_RUNS = 200


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> BenchmarkContext:
    return BenchmarkContext(tmp_path_factory.mktemp("benchmark"), Progress(), quick=True)


@pytest.fixture(scope="module")
def with_history(bench: BenchmarkContext) -> Iterator[TemporaryDbtCloud]:
    # With one run first: history only grows.
    with local_dbt_cloud(bench.with_history, 1) as dbt_cloud:
        assert check.check(bench.with_history, dbt_cloud, "ours", 2)["requests"] == 1
    with local_dbt_cloud(bench.with_history, HISTORY) as dbt_cloud:
        yield dbt_cloud


class TestInShort:
    pytestmark = pytest.mark.end_to_end

    def test_a_check_is_one_request_whatever_the_history(
        self, bench: BenchmarkContext, with_history: TemporaryDbtCloud
    ) -> None:
        ours = check.check(bench.with_history, with_history, "ours", 2)
        theirs = check.check(bench.with_history, with_history, "tutorial", 1)
        assert ours["requests"] == ours["handshakes"] == 1
        assert theirs["requests"] == HISTORY / 100

    def test_waiting_is_a_request_for_a_hundred_runs_over_one_connection(
        self, bench: BenchmarkContext, with_history: TemporaryDbtCloud
    ) -> None:
        seconds = 2.0
        both = [Waiting(OURS, "ours", seconds), Waiting(PROVIDER, "provider", seconds)]
        ours, theirs = (
            wait(bench.with_history, with_history, one, WAITING_RUNS, 4 * seconds) for one in both
        )
        assert ours["round_requests"] == WAITING_RUNS / 100
        assert ours["all"] <= HANDFUL
        assert theirs["all"] >= WAITING_RUNS
        # By far, also on a busy machine: 50 times and more is what a quiet one shows.
        assert theirs["round_cpu"] > 15 * ours["round_cpu"]

    def test_a_dag_file_costs_about_as_much_to_parse_as_the_tutorials(self, bench: BenchmarkContext) -> None:
        for row in parse.measure(bench).rows:
            if "Airflow imported" in row.what:
                assert row.values[OURS] < 1.5 * row.values[TUTORIAL], row

    def test_a_workload_that_fails_is_a_sentence_with_its_last_line(self, bench: BenchmarkContext) -> None:
        with pytest.raises(
            Failure, match=r"The workload check nobody 1 1 failed: .*invalid choice: 'nobody'"
        ):
            run_workload(bench.with_history, "check", "nobody", 1, 1)


def test_without_git_there_is_a_sentence(bench: BenchmarkContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Failure, match="a clean clone needs git, which is not installed"):
        make_run.measure(bench)


PART = Part(
    "check",
    "A title",
    "How.",
    [Row("requests", {OURS: 1, TUTORIAL: 100}), Row("ms", {OURS: 2, TUTORIAL: Computed(3)}, "{:.1f}")],
    [Target("fast", "1 ms", True), Target("small", "9 MB", False)],
)


def test_a_number_comes_with_its_ratio_to_ours_and_says_if_it_was_computed() -> None:
    assert [row.cell(OURS) for row in PART.rows] == ["1", "2.0"]
    assert [row.cell(TUTORIAL) for row in PART.rows] == ["100 (100×)", "3.0 (1.5×, computed)"]  # noqa: RUF001
    assert PART.rows[0].cell(PROVIDER) == ""


def test_the_page_says_of_each_target_whether_it_is_met(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    report.write([PART], "Measured here.", page)
    text = page.read_text()
    assert "1 of 2 targets are met." in text
    assert "| fast | 1 ms | ✓ |" in text
    assert "| small | 9 MB | ✗ |" in text
    assert PROVIDER not in text.removeprefix(report.INTRO)


def test_the_page_in_the_repository_is_one_that_the_command_wrote() -> None:
    text = report.PAGE.read_text()
    assert text.startswith(report.INTRO)
    assert len(re.findall("^## ", text, re.MULTILINE)) == len(MEASUREMENTS)
    words = " ".join(text.split())
    assert re.search(r" Measured on \d{4}-\d\d-\d\d on .* cores and .*apache-airflow \d", words)
    assert str(PROJECT) not in text + report.PLOT.read_text()

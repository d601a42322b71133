"""A short version of the benchmarks, and their page."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dev.benchmark import dag_parsing, make_run, report, storage
from dev.benchmark.__main__ import BENCHMARKS
from dev.benchmark.context import BenchmarkContext
from dev.benchmark.dbt_cloud import local_dbt_cloud
from dev.benchmark.idle_check import measure_check
from dev.benchmark.polling import MAX_HANDSHAKES, Variant, measure_waiting
from dev.benchmark.result import OURS, PROVIDER, TUTORIAL, BenchmarkResult, Computed, Row, Target
from dev.benchmark.workload import run_workload
from dev.temporary_stack import TemporaryDbtCloud
from scripts.exceptions import UserError
from scripts.progress import Progress
from scripts.settings import PROJECT

HISTORY = 2000
WAITING_RUNS = 200


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> BenchmarkContext:
    return BenchmarkContext(tmp_path_factory.mktemp("benchmark"), Progress(), quick=True)


@pytest.fixture(scope="module")
def dbt_cloud(context: BenchmarkContext) -> Iterator[TemporaryDbtCloud]:
    # First with one run: a history can only be extended.
    with local_dbt_cloud(context.history_settings, 1) as dbt_cloud:
        assert measure_check(context.history_settings, dbt_cloud, "ours", 2)["requests"] == 1
    with local_dbt_cloud(context.history_settings, HISTORY) as dbt_cloud:
        yield dbt_cloud


class TestShortBenchmarks:
    pytestmark = pytest.mark.end_to_end

    def test_a_check_is_one_request_however_long_the_history_is(
        self, context: BenchmarkContext, dbt_cloud: TemporaryDbtCloud
    ) -> None:
        ours = measure_check(context.history_settings, dbt_cloud, "ours", 2)
        tutorial = measure_check(context.history_settings, dbt_cloud, "tutorial", 1)
        assert ours["requests"] == ours["handshakes"] == 1
        assert tutorial["requests"] == HISTORY / 100

    def test_a_poll_is_one_request_per_hundred_runs_on_one_connection(
        self, context: BenchmarkContext, dbt_cloud: TemporaryDbtCloud
    ) -> None:
        interval = 2.0
        variants = [Variant(OURS, "ours", interval), Variant(PROVIDER, "provider", interval)]
        ours, provider = (
            measure_waiting(context.history_settings, dbt_cloud, variant, WAITING_RUNS, 4 * interval)
            for variant in variants
        )
        assert ours["poll_requests"] == WAITING_RUNS / 100
        assert ours["total_handshakes"] <= MAX_HANDSHAKES
        assert provider["total_handshakes"] >= WAITING_RUNS
        # On an idle machine the ratio is above 50; on a busy one it is smaller.
        assert provider["poll_cpu"] > 15 * ours["poll_cpu"]

    def test_parsing_takes_at_most_half_longer_than_the_tutorial(self, context: BenchmarkContext) -> None:
        for row in dag_parsing.measure(context).rows:
            if "Airflow imported" in row.label:
                assert row.values[OURS] < 1.5 * row.values[TUTORIAL], row

    def test_error_of_a_workload_has_its_last_line(self, context: BenchmarkContext) -> None:
        message = r"The workload check_job nobody 1 1 failed: .*invalid choice: 'nobody'"
        with pytest.raises(UserError, match=message):
            run_workload(context.history_settings, "check_job", "nobody", 1, 1)


def test_make_run_without_git_is_a_user_error(
    context: BenchmarkContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="make-run needs git, which is not installed"):
        make_run.measure(context)


RESULT = BenchmarkResult(
    "check",
    "A title",
    "A method.",
    [
        Row(report.HEADLINES[0], {OURS: 1, TUTORIAL: 100}),
        Row("ms", {OURS: 2, TUTORIAL: Computed(3)}, "{:.1f}"),
    ],
    [Target("fast", "1 ms", True), Target("small", "9 MB", False)],
)


def test_a_cell_has_the_ratio_to_ours_and_marks_computed_numbers() -> None:
    assert [row.cell(OURS) for row in RESULT.rows] == ["1", "2.0"]
    assert [row.cell(TUTORIAL) for row in RESULT.rows] == ["100 (100×)", "3.0 (1.5×, computed)"]  # noqa: RUF001
    assert RESULT.rows[0].cell(PROVIDER) == ""


def test_a_loaded_result_equals_the_saved_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "DIRECTORY", tmp_path / "benchmarks")
    assert storage.load(RESULT.name) is None
    storage.save(RESULT, "Measured here.")
    loaded = storage.load(RESULT.name)
    assert loaded == (RESULT, "Measured here.")
    assert "computed" in loaded[0].rows[1].cell(TUTORIAL)


def test_the_page_matches_the_stored_results() -> None:
    measured = [one for name in BENCHMARKS if (one := storage.load(name))]
    assert report.PAGE.read_text() == report.render_page(measured)


def test_the_page_says_when_results_were_measured(tmp_path: Path) -> None:
    later = replace(RESULT, name="later")
    same = report.render_page([(RESULT, "Measured here."), (later, "Measured here.")])
    assert "\nMeasured here.\n" in same
    different = report.render_page([(RESULT, "Measured here."), (later, "Measured there.")])
    assert "- check: Measured here.\n- later: Measured there.\n" in different


def test_the_page_shows_which_targets_are_met(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    report.write_page([(RESULT, "Measured here.")], page)
    text = page.read_text()
    assert "1 of 2 targets are met." in text
    assert "| fast | 1 ms | ✓ |" in text
    assert "| small | 9 MB | ✗ |" in text
    assert PROVIDER not in text.removeprefix(report.INTRO)


def test_the_page_begins_with_a_summary_of_one_screen() -> None:
    summary = report.render_page([(RESULT, "Measured here.")]).split("\n## ")[0]
    label = f"[check](#a-title): {report.HEADLINES[0]}"
    assert f"| | ours | tutorial |\n|---|---:|---:|\n| {label} | 1 | 100 (100×) |\n" in summary  # noqa: RUF001
    assert "ms" not in summary.split(report.METHOD)[0].removeprefix(report.INTRO)
    committed = report.PAGE.read_text().split(report.METHOD)[0]
    assert report.PLOT.name in committed
    assert len(committed.splitlines()) <= 24
    assert committed.count("\n| ") <= len(report.HEADLINES) + 1


def test_the_committed_page_was_written_by_the_command() -> None:
    text = report.PAGE.read_text()
    assert text.startswith(report.INTRO)
    # A benchmark that is newer than the page comes with the next `make bench`, as `make release-check` says.
    assert 0 < len(re.findall("^## ", text, re.MULTILINE)) <= len(BENCHMARKS)
    words = " ".join(text.split())
    assert re.search(r" Measured on \d{4}-\d\d-\d\d on .* cores and .*apache-airflow \d", words)
    assert str(PROJECT) not in text + report.PLOT.read_text()

"""Our operator in some of the scenarios, and the page with all of them."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Lock
from types import SimpleNamespace
from typing import Any

import pytest

from dev.faults import matrix as matrix_module
from dev.faults import scenarios
from dev.faults.matrix import Matrix, run_matrix
from dev.faults.observation import Observation
from dev.faults.report import INTRO, PAGE, PASSED, render_page, render_row
from dev.faults.scenarios import SCENARIOS, VARIANTS, Scenario
from dev.faults.stack import DbtRun
from dev.faults.trial import Trial

# One of each kind that can run beside others: only `make faults` has the time for all.
QUICK_NAMES = {
    "response_lost", "submission_503_started", "worker_killed", "worker_killed_and_cleared", "newer_runs",
    "marked_failed", "marked_failed_slow_secrets", "cleared", "canceled", "failed_once", "retries_lowered",
    "race", "timeout_of_submission",
}  # fmt: skip
QUICK = [scenario for scenario in SCENARIOS if scenario.name in QUICK_NAMES]


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    return run_matrix(QUICK, ["ours"], tmp_path_factory.mktemp("faults"))


@pytest.mark.end_to_end
@pytest.mark.parametrize("scenario", QUICK, ids=lambda scenario: scenario.name)
def test_no_run_is_duplicated_or_orphaned_or_misjudged(scenario: Scenario, matrix: Matrix) -> None:
    observation = matrix[scenario.name, "ours"]
    assert not observation.error, observation
    assert observation.run_statuses == scenario.expected_runs, observation
    assert observation.state == scenario.expected_state, observation
    # Runs that never left the queue were canceled there.
    assert {run.status for run in observation.runs if not run.started} <= {"Cancelled"}, observation
    assert not observation.violations(scenario), observation
    assert not observation.missing_log(scenario), observation


def test_the_page_was_written_for_these_scenarios() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page.startswith(INTRO)
    rows = [line.strip("|").split(" | ") for line in page.splitlines() if line.startswith("| ")][1:]
    titles = [f"**{scenario.label}**<br>{scenario.title}" for scenario in SCENARIOS]
    assert [title.strip() for title, *_ in rows] == titles
    for title, ours, stock in rows:
        assert ours.startswith(f"**{PASSED}**"), title
        assert re.match(rf"\*\*({PASSED}|✗ [a-z, ]+)\*\*<br>\d run", stock), title


class FakeStack:
    """A stack in which every Dag run and the only run of every job have succeeded."""

    airflow_lock = Lock()

    def __init__(self, directory: Path) -> None:
        self.outcomes = directory
        task = {"state": "success", "try_number": 1}
        self.airflow_api = SimpleNamespace(
            trigger_dag=lambda *_: None,
            get_dag_run=lambda *_: {"state": "success"},
            get_task_instances=lambda *_: {"trigger_job_1": task},
            get_log=lambda *_: [],
            get_xcom=lambda *_: None,
        )

    @contextlib.contextmanager
    def start(self) -> Iterator[Any]:
        yield self

    def list_runs(self, job_id: int) -> list[DbtRun]:
        return [DbtRun(1, "Success", active=False, started=True)]


@pytest.mark.parametrize("exclusive", [(), VARIANTS], ids=["parallel", "exclusive"])
def test_an_error_in_one_trial_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exclusive: tuple[str, ...]
) -> None:
    def fail(trial: Trial) -> None:
        raise KeyError("no such key")

    def time_out(trial: Trial) -> None:
        raise TimeoutError("timed out waiting for tasks to wait")

    selected = (
        Scenario("fails", "Fails", fail, exclusive=exclusive),
        Scenario("times_out", "Times out", time_out, exclusive=exclusive),
        Scenario("succeeds", "Succeeds", scenarios.start, exclusive=exclusive),
    )
    monkeypatch.setattr(scenarios, "SCENARIOS", selected)
    monkeypatch.setattr(matrix_module, "Stack", FakeStack)
    matrix = run_matrix(selected, ["ours"], tmp_path)
    assert {name: observation.error for (name, _), observation in matrix.items()} == {
        "fails": "fails_ours: KeyError: 'no such key'",
        "times_out": "times_out_ours: timed out waiting for tasks to wait",
        "succeeds": "",
    }
    assert {observation.state for observation in matrix.values()} == {"success"}


@pytest.mark.parametrize("exclusive", [(), VARIANTS], ids=["parallel", "exclusive"])
def test_a_trial_that_hangs_is_named_and_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exclusive: tuple[str, ...]
) -> None:
    released = Event()

    def hang(trial: Trial) -> None:
        released.wait()

    selected = (
        Scenario("hangs", "Hangs", hang, exclusive=exclusive),
        Scenario("succeeds", "Succeeds", scenarios.start, exclusive=exclusive),
    )
    monkeypatch.setattr(scenarios, "SCENARIOS", selected)
    monkeypatch.setattr(matrix_module, "Stack", FakeStack)
    monkeypatch.setattr(matrix_module, "TRIAL_TIMEOUT", 1)
    matrix = run_matrix(selected, ["ours"], tmp_path)
    released.set()
    assert {name: observation.error for (name, _), observation in matrix.items()} == {
        "hangs": "hangs_ours: still running after 1 seconds",
        "succeeds": "",
    }


def test_the_page_begins_with_a_line_for_each_fault() -> None:
    runs = (DbtRun(1, "Success", active=False, started=True),)
    passed, hangs = Observation(runs, "success", "", ()), Observation(runs, "running", "", ())
    matrix = {(one.name, variant): passed for one in SCENARIOS for variant in VARIANTS}
    matrix[SCENARIOS[0].name, "stock"] = hangs
    lines = render_page(matrix).split("```")[1].strip().splitlines()
    assert lines[0].split() == ["fault", "ours", "provider"]
    assert lines[2].split() == [*SCENARIOS[0].label.split(), PASSED, "✗", "task", "hangs"]
    assert [line[:28].strip() for line in lines[2:]] == [scenario.label for scenario in SCENARIOS]


def test_an_error_while_reading_logs_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = Scenario("succeeds", "Succeeds", scenarios.start)
    monkeypatch.setattr(scenarios, "SCENARIOS", (scenario,))
    stack: Any = FakeStack(tmp_path)
    del stack.airflow_api.get_log
    observation = Trial(scenario, "ours", stack).run()
    assert re.match("succeeds_ours: AttributeError: .*get_log", observation.error)


def test_the_page_shows_no_log_lines_about_the_runs_of_other_trials() -> None:
    runs = (DbtRun(7, "Cancelled", active=False, started=True),)
    observation = Observation(runs, "failed", "", ("Canceled dbt Cloud run 7.", "Canceled dbt Cloud run 8."))
    row = render_row(SCENARIOS[0], {(SCENARIOS[0].name, "ours"): observation})
    assert "“Canceled dbt Cloud run 1.”" in row
    assert row.count("Canceled dbt Cloud run") == 1

"""What ``JobRun`` reads from a run of the API."""

import time

import pytest

from include.dbt_cloud.job_run import JobRun


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Honolulu"])
def test_a_time_without_offset_is_in_utc_whatever_the_zone_of_the_worker(
    monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        run = JobRun(1, status=1, created_at="2026-01-01 12:00:00.123456")
        noon = 1767268800
        assert not run.is_created_before(noon)
        assert run.is_created_before(noon + 1)
    time.tzset()


@pytest.mark.parametrize("created_at", ["", "yesterday"])
def test_a_run_without_a_valid_creation_time_does_not_count_as_old(created_at: str) -> None:
    assert not JobRun(1, status=1, created_at=created_at).is_created_before(time.time())


def test_fields_of_unknown_types_do_not_hide_the_run() -> None:
    odd = {"trigger": "x", "job": 7, "environment": [], "status_message": {"a": 1}, "started_at": 5}
    run = JobRun.from_api({"id": 1, "status": 30} | odd)
    assert (run.outcome, run.cause, run.job_name, run.started_at) == ("cancelled", "", "", None)


@pytest.mark.parametrize(
    ("logs", "reason"),
    [
        (
            "Usage: dbt build [OPTIONS]\nTry 'dbt build --help' for help.\n\nError: No such option '-x'.\n",
            "No such option '-x'.",
        ),
        ("error: unexpected argument '-x' found\n\nUsage: dbt build\n", "unexpected argument '-x' found"),
        (
            "01:47:05  Encountered an error:\nCompilation Error\n"
            "  The selection criterion 'x' does not match any enabled nodes\n",
            "The selection criterion 'x' does not match any enabled nodes",
        ),
        # A warning, and an error of the database.
        (
            "01:47:05  The selection criterion 'x' does not match any enabled nodes\n"
            "01:47:06  Encountered an error:\nDatabase Error\n  timeout\n",
            "",
        ),
        ("", ""),
    ],
)
def test_the_reason_why_dbt_rejected_a_command_is_in_its_log(logs: str, reason: str) -> None:
    assert JobRun(1, 20, steps=[{"logs": None}, {"logs": logs}]).rejection == reason

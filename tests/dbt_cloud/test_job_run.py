"""What is read from a run of the API."""

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
def test_a_run_of_unknown_age_ends_no_search(created_at: str) -> None:
    assert not JobRun(1, status=1, created_at=created_at).is_created_before(time.time())

"""Formats of durations, as captured from dbt Cloud."""

from datetime import timedelta

import pytest

from local_dbt_cloud.durations import format_clock, format_words


@pytest.mark.parametrize(
    ("duration", "expected_clock", "expected_words"),
    [
        (timedelta(), "00:00:00", "0 minutes"),
        (timedelta(milliseconds=900), "00:00:00", "0 minutes"),
        (timedelta(seconds=1), "00:00:01", "1 second"),
        (timedelta(seconds=51), "00:00:51", "51 seconds"),
        (timedelta(seconds=62), "00:01:02", "1 minute, 2 seconds"),
        (timedelta(hours=24, seconds=36), "24:00:36", "1 day"),
        (timedelta(days=17, hours=5), "413:00:00", "2 weeks, 3 days"),
    ],
)
def test_durations_are_formatted_like_dbt_cloud(
    duration: timedelta, expected_clock: str, expected_words: str
) -> None:
    assert format_clock(duration) == expected_clock
    assert format_words(duration) == expected_words

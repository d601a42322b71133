"""Durations in the two formats of dbt Cloud's API."""

from datetime import timedelta

UNITS = (("week", 604800), ("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))


def format_clock(duration: timedelta) -> str:
    """Return hours, minutes and seconds, such as ``24:00:36``."""
    minutes, seconds = divmod(int(duration.total_seconds()), 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}"


def format_words(duration: timedelta) -> str:
    """Return the largest unit and the next smaller one, such as ``2 weeks, 3 days``.

    As dbt Cloud does: ``1 day, 36 seconds`` is ``1 day``, and less than a second is ``0 minutes``. This is
    Django's ``timesince`` with seconds. No other library produces it: humanize has no weeks and skips empty
    units, Babel returns a single unit, and pendulum returns all units.
    """
    rest = int(duration.total_seconds())
    parts: list[str] = []
    for unit, size in UNITS:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {unit}{'s' if count > 1 else ''}")
        if len(parts) == 2 or (parts and not count):
            break
    return ", ".join(parts) or "0 minutes"

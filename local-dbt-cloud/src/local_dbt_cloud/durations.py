"""Durations as dbt Cloud writes them for people."""

from datetime import timedelta

UNITS = (("week", 604800), ("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))


def clock(duration: timedelta) -> str:
    """Return hours, minutes and seconds: 24:00:36."""
    minutes, seconds = divmod(int(duration.total_seconds()), 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}"


def words(duration: timedelta) -> str:
    """Return the two largest units: "2 weeks, 3 days"; "0 minutes" for less than a second."""
    rest = int(duration.total_seconds())
    parts: list[str] = []
    for unit, size in UNITS:
        count, rest = divmod(rest, size)
        # "1 day", not "1 day, 36 seconds": the second unit is the one just below the first.
        if parts and not count:
            break
        if count:
            parts.append(f"{count} {unit}{'s' if count > 1 else ''}")
        if len(parts) == 2:
            break
    return ", ".join(parts) or "0 minutes"

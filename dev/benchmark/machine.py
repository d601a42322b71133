"""Says when, on what machine and with which versions something was measured."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version

import psutil

PACKAGES = (
    "apache-airflow", "apache-airflow-providers-dbt-cloud", "aiohttp", "requests", "dbt-core", "dbt-duckdb",
)  # fmt: skip


def circumstances(busy: float) -> str:
    """Return a sentence about the date, the machine's size and the versions; ``busy`` is how busy it was."""
    day = datetime.now(UTC).date().isoformat()
    memory = psutil.virtual_memory().total / 2**30
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"Measured on {day} on {platform.system()} {platform.machine()} with {os.cpu_count()} cores and "
        f"{memory:.0f} GB of memory, whose processors others kept {busy:.0%} busy at the start. "
        f"Python {platform.python_version()}, {packages}."
    )


def busy() -> float:
    """Return how busy the processors are before anything is measured, 0 to 1; it takes two seconds."""
    return psutil.cpu_percent(interval=2) / 100

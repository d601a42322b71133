"""Describe the machine and the versions with which benchmarks ran."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version

import psutil

PACKAGES = (
    "apache-airflow", "apache-airflow-providers-dbt-cloud", "aiohttp", "requests", "dbt-core", "dbt-duckdb",
)  # fmt: skip


def environment_summary(initial_load: float) -> str:
    """Return the date, the size of the machine, and the versions, in two sentences.

    :param initial_load: CPU load before the benchmarks, from 0 to 1.
    """
    day = datetime.now(UTC).date().isoformat()
    memory = psutil.virtual_memory().total / 2**30
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"Measured on {day} on {platform.system()} {platform.machine()} with {os.cpu_count()} cores and "
        f"{memory:.0f} GB of memory; CPU load of other processes at the start: {initial_load:.0%}. "
        f"Python {platform.python_version()}, {packages}."
    )


def cpu_load() -> float:
    """Return the CPU load of the machine, from 0 to 1, measured for two seconds."""
    return psutil.cpu_percent(interval=2) / 100

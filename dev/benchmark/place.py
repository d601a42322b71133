"""Where a measurement happens: a directory and ports of its own, apart from the project's local stack."""

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from scripts.processes import free_port
from scripts.progress import Progress
from scripts.settings import Connection, Settings

TOKEN = "token-of-the-benchmark"  # noqa: S105 - of a dbt Cloud that ends with the benchmark
# What the shell says of other stacks, and of the make that called us, is not for what is measured.
OTHERS = ("AIRFLOW", "LOCAL_DBT_CLOUD_", "PYTHONDONTWRITEBYTECODE", "MAKE", "MFLAGS", "VIRTUAL_ENV")


@dataclass(frozen=True)
class Bench:
    """What all measurements share; ``quick`` is for trying the command: fewer and smaller."""

    directory: Path
    progress: Progress
    quick: bool = False

    @cached_property
    def with_history(self) -> Settings:
        """The settings of the one local dbt Cloud whose history grows from measurement to measurement."""
        return settings_in(self.directory / "with_history")


def settings_in(directory: Path) -> Settings:
    """Return the settings of a stack in a directory, on free ports."""
    api_port = free_port()
    fields = {"conn_type": "dbt_cloud", "host": f"localhost:{api_port}", "login": "1", "password": TOKEN}
    return Settings(
        airflow_port=free_port(),
        api_port=api_port,
        pages_port=free_port(),
        airflow_home=directory / "airflow",
        data_dir=directory / "dbt_cloud",
        connection=Connection(fields["host"], "1", TOKEN, json.dumps(fields)),
        connection_is_from="the benchmark",
        job_id="1",
        environment=clean_environment() | {"LOCAL_DBT_CLOUD_TOKEN": TOKEN},
    )


def clean_environment() -> dict[str, str]:
    """Return the shell's environment without what concerns another stack."""
    return {name: value for name, value in os.environ.items() if not name.startswith(OTHERS)}

"""What all benchmarks share."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dev.temporary_stack import settings_in
from scripts.progress import Progress
from scripts.settings import Settings


@dataclass(frozen=True)
class BenchmarkContext:
    """Where and how to measure.

    :param directory: Temporary directory of all benchmarks.
    :param quick: Make fewer and smaller measurements, to try the command.
    """

    directory: Path
    progress: Progress
    quick: bool = False

    @cached_property
    def history_settings(self) -> Settings:
        """Settings of the local dbt Cloud that benchmarks share, so that each extends the history."""
        return settings_in(self.directory / "history")

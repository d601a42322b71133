"""What all measurements share."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dev.temporary_stack import settings_in
from scripts.progress import Progress
from scripts.settings import Settings


@dataclass(frozen=True)
class BenchmarkContext:
    """Where to measure.

    :param directory: Temporary directory of the whole benchmark.
    :param quick: Make fewer and smaller measurements, to try the command.
    """

    directory: Path
    progress: Progress
    quick: bool = False

    @cached_property
    def with_history(self) -> Settings:
        """The settings of the one local dbt Cloud whose history grows from measurement to measurement."""
        return settings_in(self.directory / "with_history")

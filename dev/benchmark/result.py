"""The result of a benchmark: a table of numbers, and targets."""

from collections.abc import Mapping
from dataclasses import dataclass, field

# Columns of the table.
OURS = "ours"
PROVIDER, PROVIDER_DEFAULT = "provider, same interval", "provider, default"
TUTORIAL = "tutorial"
DAGSTER, PREFECT, DBTC = "Dagster", "Prefect", "dbtc"
COLUMNS = (OURS, PROVIDER, PROVIDER_DEFAULT, DAGSTER, PREFECT, DBTC, TUTORIAL)


class Computed(float):
    """A number that was calculated, not measured."""


@dataclass(frozen=True)
class Row:
    """A row of the table.

    :param label: What was measured, with its unit.
    :param values: Numbers by column.
    :param number_format: Format string for the numbers.
    """

    label: str
    values: Mapping[str, float]
    number_format: str = "{:,.0f}"

    def cell(self, column: str) -> str:
        """Return the number in a column with its ratio to ours; empty if there is none."""
        if column not in self.values:
            return ""
        value, ours = self.values[column], self.values.get(OURS)
        text = self.number_format.format(float(value))
        notes = [format_ratio(value / ours)] if column != OURS and ours else []
        notes += ["computed"] if isinstance(value, Computed) else []
        return f"{text} ({', '.join(notes)})" if notes else text


@dataclass(frozen=True)
class Target:
    """A target, the measured value in words, and whether the target is met."""

    text: str
    measured: str
    met: bool


@dataclass(frozen=True)
class BenchmarkResult:
    """The result of a benchmark.

    :param name: Name of the benchmark in ``--only``.
    :param method: How it was measured, as a paragraph of the page.
    :param series: Points of the plot, x and y, by column.
    """

    name: str
    title: str
    method: str
    rows: list[Row]
    targets: list[Target] = field(default_factory=list)
    series: Mapping[str, list[tuple[float, float]]] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        """Columns that have a number in any row."""
        return [column for column in COLUMNS if any(column in row.values for row in self.rows)]


def format_ratio(ratio: float) -> str:
    """Return a ratio with two significant digits below 10, without decimals above."""
    return f"{ratio:,.0f}×" if ratio >= 10 else f"{ratio:.2g}×"  # noqa: RUF001 - not the letter x

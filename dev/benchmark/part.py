"""What a measurement comes to: rows of numbers, and whether each of its targets is met."""

from collections.abc import Mapping
from dataclasses import dataclass, field

# Whom a number may belong to: a column of the table each.
OURS = "ours"
PROVIDER, PROVIDER_DEFAULT = "provider, same interval", "provider, default"
TUTORIAL = "tutorial"
COLUMNS = (OURS, PROVIDER, PROVIDER_DEFAULT, TUTORIAL)


class Computed(float):
    """A number that follows from others and was not measured."""


@dataclass(frozen=True)
class Row:
    """A line of the table: what was measured, and a number for each column; ``form`` is how to write one."""

    what: str
    values: Mapping[str, float]
    form: str = "{:,.0f}"

    def cell(self, column: str) -> str:
        """Return a number with its ratio to ours, empty if there is none."""
        if column not in self.values:
            return ""
        value, ours = self.values[column], self.values.get(OURS)
        text = self.form.format(float(value))
        notes = [times(value / ours)] if column != OURS and ours else []
        notes += ["computed"] if isinstance(value, Computed) else []
        return f"{text} ({', '.join(notes)})" if notes else text


@dataclass(frozen=True)
class Target:
    """What a measurement has to show, what it did show, and whether that is enough."""

    text: str
    found: str
    met: bool


@dataclass(frozen=True)
class Part:
    """One of the measurements; ``how`` says how it was done, ``raw`` is what the plot draws."""

    name: str
    title: str
    how: str
    rows: list[Row]
    targets: list[Target] = field(default_factory=list)
    raw: Mapping[str, list[tuple[float, float]]] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        """The columns that hold a number."""
        return [column for column in COLUMNS if any(column in row.values for row in self.rows)]


def times(ratio: float) -> str:
    """Return a ratio as people write it."""
    return f"{ratio:,.0f}×" if ratio >= 10 else f"{ratio:.2g}×"  # noqa: RUF001 - not the letter x

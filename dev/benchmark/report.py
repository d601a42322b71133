"""Shows what was measured as one table, and writes it as docs/benchmarks.md."""

import textwrap
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from dev.benchmark.part import COLUMNS, Part
from scripts.progress import Progress
from scripts.settings import PROJECT

PAGE = PROJECT / "docs" / "benchmarks.md"
PLOT = PAGE.with_suffix(".svg")

INTRO = """\
# What it costs, side by side with what people use today

`make bench` measures all of this in one run, against the local dbt Cloud, and writes this page and the
plot: nothing here is written by hand. *Ours* is this project's hook, trigger and operator. *Provider* is
the installed dbt Cloud provider's, at the same interval as ours and at its default. *Tutorial* is the check
and the Dag of the Astronomer tutorial, [expressed anew](../dev/benchmark/workloads/tutorial_dag.py). In
brackets: how many times ours. The short form of it in `make test` fails when a count or a ratio breaks.
"""


def show(progress: Progress, parts: list[Part]) -> None:
    """Print all parts as one table, and what is met of the targets."""
    columns = [column for column in COLUMNS if any(column in part.columns for part in parts)]
    table = Table(header_style="bold")
    table.add_column()
    for column in columns:
        table.add_column(column, justify="right")
    for part in parts:
        table.add_section()
        table.add_row(f"[bold]{escape(part.title)}[/]")
        for row in part.rows:
            table.add_row(f"  {escape(row.what)}", *(row.cell(column) for column in columns))
    # As wide as it is, also where the output is a file and has no width.
    table.width = progress.console.measure(table, options=progress.console.options.update(width=200)).maximum
    progress.console.print(table, crop=False, no_wrap=True)
    for part in parts:
        for target in part.targets:
            mark = "[green]✓[/]" if target.met else "[red]✗[/]"
            progress.line(f"{mark} {part.name}: {escape(target.text)}: {escape(target.found)}")


def write(parts: list[Part], circumstances: str, page: Path = PAGE) -> None:
    """Write the page."""
    page.parent.mkdir(exist_ok=True)
    page.write_text(markdown(parts, circumstances), encoding="utf-8")


def markdown(parts: list[Part], circumstances: str) -> str:
    """Return the whole page."""
    met = sum(target.met for part in parts for target in part.targets)
    number = sum(len(part.targets) for part in parts)
    plot = f"![What the check costs by history, and waiting by the number of runs]({PLOT.name})"
    summary = f"{met} of {number} targets are met.\n"
    return "\n".join([INTRO, _wrapped(circumstances), "", summary, plot, "", *map(_section, parts)])


def _section(part: Part) -> str:
    columns = part.columns
    lines = [
        f"## {part.title}",
        "",
        _wrapped(part.how),
        "",
        f"| | {' | '.join(columns)} |",
        f"|---|{'---:|' * len(columns)}",
    ]
    lines += [f"| {row.what} | {' | '.join(row.cell(column) for column in columns)} |" for row in part.rows]
    if part.targets:
        lines += ["", "| target | measured | met |", "|---|---|---|"]
        lines += [f"| {one.text} | {one.found} | {'✓' if one.met else '✗'} |" for one in part.targets]
    return "\n".join(lines) + "\n"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 118, break_long_words=False, break_on_hyphens=False)

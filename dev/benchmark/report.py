"""Print the results of the benchmarks, and render them as docs/benchmarks.md."""

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from dev.benchmark.result import COLUMNS, BenchmarkResult, Row
from scripts.progress import Progress
from scripts.settings import PROJECT

PAGE = PROJECT / "docs" / "benchmarks.md"
PLOT = PAGE.with_suffix(".svg")

INTRO = """\
# Benchmarks

The check whether a job is idle takes one request, however long the job's history is. Waiting for 1,000 runs
takes ten requests per poll, over one connection. A task resumes seconds after its dbt run has ended.
"""
METHOD = """\
- *ours*: the hook, trigger and operator of this project
- *provider*: those of the dbt Cloud provider, at the same polling interval and at its default
- *tutorial*: the check and the Dag of the Astronomer tutorial,
  [rewritten](../dev/benchmark/workloads/tutorial_dag.py)

Ratios to *ours* are in parentheses. This page is generated: `make bench` measures everything against the
local dbt Cloud, and `make test` checks the counts and ratios in a shorter version.
"""
# A result, and when, where and with which versions it was measured.
Measured = tuple[BenchmarkResult, str]

# Rows of the summary. One that was not measured is left out.
HEADLINES = (
    "10,000 runs of history: requests",
    "10,000 runs of history: milliseconds",
    "20 runs waiting: mean seconds",
    "20 runs waiting: requests per minute",
    "100 runs waiting: mean seconds",
    "1,000 runs waiting: requests per minute",
    "1,000 runs waiting: CPU milliseconds per poll",
    "median, seconds",
    "200 deferred tasks: seconds until the end is noticed",
    "200 deferred tasks: CPU seconds of the triggerer",
    "`make run`: seconds",
)


def print_results(progress: Progress, results: list[BenchmarkResult]) -> None:
    """Print all results as one table, and whether each target is met."""
    columns = [column for column in COLUMNS if any(column in result.columns for result in results)]
    table = Table(header_style="bold")
    table.add_column()
    for column in columns:
        table.add_column(column, justify="right")
    for result in results:
        table.add_section()
        table.add_row(f"[bold]{escape(result.title)}[/]")
        for row in result.rows:
            table.add_row(f"  {escape(row.label)}", *(row.cell(column) for column in columns))
    # Full width, also if the output is a file, which has no width.
    table.width = progress.console.measure(table, options=progress.console.options.update(width=200)).maximum
    progress.console.print(table, crop=False, no_wrap=True)
    for result in results:
        for target in result.targets:
            mark = "[green]✓[/]" if target.met else "[red]✗[/]"
            progress.print(f"{mark} {result.name}: {escape(target.text)}: {escape(target.measured)}")


def write_page(measured: Sequence[Measured], page: Path = PAGE) -> None:
    """Write the page."""
    page.parent.mkdir(exist_ok=True)
    page.write_text(render_page(measured), encoding="utf-8")


def render_page(measured: Sequence[Measured]) -> str:
    """Return the page as Markdown: a summary, then the details."""
    results = [result for result, _ in measured]
    targets = [target for result in results for target in result.targets]
    met = f"{sum(target.met for target in targets)} of {len(targets)} targets are met.\n"
    plot = f"![Cost of the check by history, and of waiting by number of runs]({PLOT.name})\n"
    headlines = [
        replace(row, label=f"[{result.name}](#{_anchor(result.title)}): {row.label}")
        for result in results
        for row in result.rows
        if row.label in HEADLINES
    ]
    parts = [
        INTRO,
        _render_table(headlines),
        "",
        met,
        plot,
        METHOD,
        *_environments(measured),
        "",
        *map(_render_section, results),
    ]
    return "\n".join(parts)


def _environments(measured: Sequence[Measured]) -> Iterator[str]:
    by_environment: dict[str, list[str]] = {}
    for result, environment in measured:
        by_environment.setdefault(environment, []).append(result.name)
    if len(by_environment) == 1:
        yield _wrap(*by_environment)
        return
    for environment, names in by_environment.items():
        yield _wrap(f"- {', '.join(names)}: {environment}", indent="  ")


def _render_section(result: BenchmarkResult) -> str:
    lines = [f"## {result.title}", "", _wrap(result.method), "", _render_table(result.rows)]
    if result.targets:
        lines += ["", "| target | measured | met |", "|---|---|---|"]
        lines += [f"| {one.text} | {one.measured} | {'✓' if one.met else '✗'} |" for one in result.targets]
    return "\n".join(lines) + "\n"


def _render_table(rows: Sequence[Row]) -> str:
    columns = [column for column in COLUMNS if any(column in row.values for row in rows)]
    lines = [f"| | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}"]
    return "\n".join(lines + [f"| {row.label} | {' | '.join(map(row.cell, columns))} |" for row in rows])


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def _wrap(text: str, indent: str = "") -> str:
    return textwrap.fill(text, 118, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)

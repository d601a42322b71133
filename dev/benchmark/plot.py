"""Draw the costs of the check and of waiting as an SVG."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dev.benchmark.result import OURS, PROVIDER, PROVIDER_DEFAULT, TUTORIAL, BenchmarkResult

# Reproducible IDs, and searchable text. Any: matplotlib types the keys as a long Literal.
STYLE: dict[Any, Any] = {"svg.hashsalt": "benchmarks", "svg.fonttype": "none", "font.size": 9}
COLORS = {OURS: "#0b7a75", PROVIDER: "#d1495b", PROVIDER_DEFAULT: "#edae49", TUTORIAL: "#d1495b"}
MARKERS = {OURS: "o", PROVIDER: "s", PROVIDER_DEFAULT: "^", TUTORIAL: "s"}


def draw(check: BenchmarkResult, waiting: BenchmarkResult, path: Path) -> None:
    """Write a plot with a panel for each of the two results."""
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        _draw_lines(left, check.series)
        left.set(title="Check", xlabel="runs of history", ylabel="milliseconds")
        _draw_lines(right, waiting.series)
        right.set(title="Waiting", xlabel="waiting runs", ylabel="CPU seconds per minute")
        figure.savefig(path, metadata={"Date": None})


def _draw_lines(axes: Axes, series: Mapping[str, list[tuple[float, float]]]) -> None:
    for column, points in series.items():
        xs, ys = zip(*points, strict=True)
        axes.plot(xs, ys, label=column, color=COLORS[column], marker=MARKERS[column])
    axes.set(xscale="log", yscale="log")
    axes.grid(which="major", alpha=0.3)
    axes.legend(frameon=False)

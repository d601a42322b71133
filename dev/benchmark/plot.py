"""Draws what the check costs by the length of history, and waiting by the number of runs: an SVG."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dev.benchmark.part import OURS, PROVIDER, PROVIDER_DEFAULT, TUTORIAL, Part

# Not to change from one drawing to the next without a reason, and to stay text that can be searched.
STYLE = {"svg.hashsalt": "benchmarks", "svg.fonttype": "none", "font.size": 9}
COLORS = {OURS: "#0b7a75", PROVIDER: "#d1495b", PROVIDER_DEFAULT: "#edae49", TUTORIAL: "#d1495b"}
MARKERS = {OURS: "o", PROVIDER: "s", PROVIDER_DEFAULT: "^", TUTORIAL: "s"}


def draw(check: Part, waiting: Part, path: Path) -> None:
    """Write the plot of both measurements."""
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        _lines(left, check.raw)
        left.set(title="The check", xlabel="runs of history", ylabel="milliseconds")
        _lines(right, waiting.raw)
        right.set(title="Waiting", xlabel="waiting runs", ylabel="seconds of CPU a minute")
        figure.savefig(path, metadata={"Date": None})


def _lines(axes: Axes, raw: Mapping[str, list[tuple[float, float]]]) -> None:
    for who, points in raw.items():
        xs, ys = zip(*points, strict=True)
        axes.plot(xs, ys, label=who, color=COLORS[who], marker=MARKERS[who])
    axes.set(xscale="log", yscale="log")
    axes.grid(which="major", alpha=0.3)
    axes.legend(frameon=False)

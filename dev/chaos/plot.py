"""Draw the experiment as an SVG: when faults were injected, and when dbt runs were active."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from dev.benchmark.plot import STYLE
from dev.chaos.faults import FAULTS, Injection
from dev.chaos.outcome import Outcome

COLORS = {"Success": "#0b7a75", "Error": "#d1495b", "Cancelled": "#8d99ae"}


def draw(outcomes: Sequence[Outcome], injections: Sequence[Injection], path: Path) -> None:
    """Write a plot: a row for each fault above a row for each Dag run, over the same minutes."""
    start = min(injection.at for injection in injections)

    def minutes(at: datetime) -> float:
        return (at - start).total_seconds() / 60

    with rc_context(STYLE):
        figure = Figure(figsize=(9, 5.5), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2))
        titles = [fault.title for fault in FAULTS]
        times = [[minutes(one.at) for one in injections if one.title == title] for title in titles]
        above.eventplot(times, lineoffsets=range(len(titles)), linelengths=0.7, colors="#333333")
        above.set_yticks(range(len(titles)), titles, fontsize=7)
        above.invert_yaxis()
        for row, outcome in enumerate(outcomes, start=1):
            for run in outcome.runs:
                ended_at = run.ended_at or run.created_at
                begin, length = minutes(run.created_at), (ended_at - run.created_at).total_seconds() / 60
                below.broken_barh([(begin, length)], (row, 0.9), color=COLORS.get(run.status, "black"))
        below.set(xlabel="minutes", ylabel="Dag run")
        below.invert_yaxis()
        labels = [Patch(color=color, label=f"dbt run: {status}") for status, color in COLORS.items()]
        below.legend(handles=labels, frameon=False, loc="lower left")
        figure.savefig(path, metadata={"Date": None})

"""Lay out a run's nodes on a time axis: one lane per thread, one bar per node."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

WIDTH, LANE, LEFT, TOP = 1000, 26, 90, 22
# Approximate number of ticks on the axis.
TICKS = 6


@dataclass
class Bar:
    """A node on the timeline: times in seconds since the first start, position in the drawing."""

    node: dict[str, Any]
    lane: int
    start: float
    end: float
    x: float = 0.0
    width: float = 0.0

    @property
    def y(self) -> int:
        """Upper edge."""
        return TOP + self.lane * LANE + 4

    @property
    def name(self) -> str:
        """Name of the node without type, project and, for a test, its hash."""
        kind, _, *names = self.node["unique_id"].split(".")
        return ".".join(names[:1] if kind == "test" else names)


@dataclass
class Timeline:
    """What the page draws: bars, names of the lanes, ticks of the axis as position and label."""

    bars: list[Bar]
    lanes: list[str]
    ticks: list[tuple[float, str]]
    seconds: float
    width: int = WIDTH

    @property
    def height(self) -> int:
        """Height of the drawing."""
        return TOP + len(self.lanes) * LANE + 6


def draw(nodes: list[dict[str, Any]]) -> Timeline | None:
    """Return the layout of the nodes that ran, None if none did.

    :param nodes: As ``read_run_results`` of ``include.dbt_cloud.results`` gives them.
    """
    ran = sorted((node for node in nodes if node.get("started_at")), key=lambda node: node["started_at"])
    if not ran:
        return None
    begin = datetime.fromisoformat(ran[0]["started_at"])
    lanes = sorted({node["thread_id"] for node in ran}, key=_natural)
    bars = []
    for node in ran:
        start = (datetime.fromisoformat(node["started_at"]) - begin).total_seconds()
        lane = lanes.index(node["thread_id"])
        bars.append(Bar(node, lane, start, start + node["execution_time"]))
    seconds = max(0.01, *(bar.end for bar in bars))
    scale = (WIDTH - LEFT - 10) / seconds
    for bar in bars:
        bar.x, bar.width = LEFT + bar.start * scale, max((bar.end - bar.start) * scale, 1.5)
    step = _step(seconds)
    ticks = [(LEFT + n * step * scale, f"{n * step:g} s") for n in range(int(seconds / step) + 1)]
    return Timeline(bars, [_lane_name(lane) for lane in lanes], ticks, seconds)


def _step(seconds: float) -> float:
    """Return a round number of seconds between two ticks."""
    rough, unit = seconds / TICKS, 0.001
    while unit * 10 < rough:
        unit *= 10
    return next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)


def _natural(thread_id: str) -> tuple[int, str]:
    digits = "".join(letter for letter in thread_id if letter.isdecimal())
    return int(digits or 0), thread_id


def _lane_name(thread_id: str) -> str:
    # dbt calls it "Thread-1 (worker)".
    return thread_id.split(" ")[0].replace("-", " ")

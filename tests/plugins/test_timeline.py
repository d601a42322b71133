"""Where the nodes of a run are drawn."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from plugins.dbt_results.timeline import LEFT, WIDTH, draw


def node(name: str, start: float, seconds: float, thread: str = "Thread-1 (worker)") -> dict[str, Any]:
    return {
        "unique_id": f"model.shop.{name}",
        "status": "success",
        "thread_id": thread,
        "execution_time": seconds,
        "started_at": (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=start)).isoformat(),
    }


def test_where_nothing_ran_there_is_nothing_to_draw() -> None:
    assert draw([]) is None
    assert draw([{**node("skipped", 0, 0), "status": "skipped", "started_at": None}]) is None


def test_each_thread_has_a_lane_in_the_order_of_their_numbers() -> None:
    threads = ["Thread-10 (worker)", "Thread-9 (worker)", "MainThread"]
    timeline = draw([node("x", 0, 1, thread) for thread in threads])
    assert timeline.lanes == ["MainThread", "Thread 9", "Thread 10"]


def test_a_bar_lies_where_its_time_is() -> None:
    timeline = draw([node("first", 10, 5), node("second", 15, 5)])
    first, second = timeline.bars
    assert (first.x, first.end, second.start) == (LEFT, 5, 5)
    assert second.x == pytest.approx(first.x + first.width)
    assert second.x + second.width == pytest.approx(WIDTH - 10)
    assert timeline.seconds == 10
    assert [text for _, text in timeline.ticks] == ["0 s", "2 s", "4 s", "6 s", "8 s", "10 s"]


def test_names_are_short() -> None:
    test = {**node("x", 0, 1), "unique_id": "test.shop.not_null_orders_id.abc123"}
    unit_test = {**node("x", 0, 1), "unique_id": "unit_test.shop.orders.adds_up"}
    assert [bar.name for bar in draw([test, unit_test]).bars] == ["not_null_orders_id", "orders.adds_up"]


def random_seconds(rng: random.Random, longest: float) -> float:
    """Return a duration of any order of magnitude, often an edge case."""
    return rng.choice([0.0, 5e-324, 1e-6, 1.0, longest, rng.uniform(0, longest), 10 ** rng.uniform(-9, 3)])


@pytest.mark.parametrize("seed", range(200))
def test_everything_is_inside_the_drawing(seed: int) -> None:
    rng = random.Random(seed)
    nodes = [
        node("x", random_seconds(rng, 3000), random_seconds(rng, 10_000), f"Thread-{rng.randint(1, 8)}")
        for _ in range(rng.choice([1, 2, 3, rng.randint(1, 100)]))
    ]
    timeline = draw(nodes)
    assert len(timeline.bars) == len(nodes)
    for bar in timeline.bars:
        assert LEFT <= bar.x <= bar.x + bar.width <= WIDTH
        assert 0 < bar.y < timeline.height
    assert 1 <= len(timeline.ticks) <= 12

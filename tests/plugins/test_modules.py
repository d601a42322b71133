"""JavaScript modules of the pages that need no Airflow, in a real browser."""

import random
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

pytest.importorskip("selenium", reason="needs selenium, not installed here")

from selenium.webdriver import Chrome

from tests.browser import needs_chromium
from tests.conftest import PROJECT
from tests.plugins.run_records import node

pytestmark = [pytest.mark.end_to_end, needs_chromium]

STATIC = PROJECT / "plugins" / "dbt_results" / "static"
CALL = """
const [module, name, args, done] = arguments;
import(`/${module}.js`).then((loaded) => done({ value: loaded[name](...args) ?? null }))
  .catch((error) => done({ error: String(error) }));
"""


class Modules:
    """The modules, loaded into a browser."""

    def __init__(self, browser: Chrome) -> None:
        self.browser = browser

    def call(self, module: str, name: str, *arguments: Any) -> Any:
        """Call an exported function."""
        answer = self.browser.execute_async_script(CALL, module, name, arguments)
        assert "error" not in answer, answer
        return answer["value"]


@pytest.fixture(scope="module")
def modules(browser: Chrome) -> Iterator[Modules]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(STATIC))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        browser.get(f"http://127.0.0.1:{server.server_port}/view/style.css")
        yield Modules(browser)
        server.shutdown()
        thread.join()


def test_the_timeline_has_no_layout_if_no_node_ran(modules: Modules) -> None:
    assert modules.call("view/layout", "layOut", []) is None
    assert modules.call("view/layout", "layOut", [node("skipped", "skipped")]) is None


def test_each_thread_has_a_lane_in_the_order_of_their_numbers(modules: Modules) -> None:
    threads = ["Thread-10 (worker)", "Thread-9 (worker)", "MainThread", ""]
    layout = modules.call("view/layout", "layOut", [node("x", thread_id=thread) for thread in threads])
    assert layout["lanes"] == ["MainThread", "main", "Thread 9", "Thread 10"]


def test_bars_are_positioned_by_their_times(modules: Modules) -> None:
    layout = modules.call(
        "view/layout", "layOut", [node("b", seconds=5, start=15), node("a", seconds=5, start=10)]
    )
    assert [(bar["start"], bar["end"]) for bar in layout["bars"]] == [(0, 5), (5, 10)]
    assert layout["seconds"] == 10


@pytest.mark.parametrize("seed", range(20))
def test_ticks_are_few_and_within_the_time(modules: Modules, seed: int) -> None:
    seconds = 10 ** random.Random(seed).uniform(-3, 5)
    ticks = modules.call("view/layout", "ticks", seconds)
    assert ticks[0] == 0
    assert 2 <= len(ticks) <= 13
    assert ticks[-1] <= seconds


@pytest.mark.parametrize(
    ("seconds", "label"), [(0, "0 s"), (0.5, "0.5 s"), (60, "1:00"), (150, "2:30"), (3720, "1:02:00")]
)
def test_tick_labels_are_formatted_like_a_clock(modules: Modules, seconds: float, label: str) -> None:
    assert modules.call("view/layout", "tickLabel", seconds) == label


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "unknown"), (0.04, "0 s"), (0.44, "0.4 s"), (59.7, "1 min 0 s"), (185, "3 min 5 s"),
     (3725, "1 h 2 min"), (129600, "36 h 0 min"), (259200, "3 days")],
)  # fmt: skip
def test_durations_are_shortened_for_display(modules: Modules, seconds: float | None, text: str) -> None:
    assert modules.call("view/format", "duration", seconds) == text


def test_names_of_older_results_are_short(modules: Modules) -> None:
    ids = ["test.shop.not_null_orders_id.abc123", "unit_test.shop.orders.adds_up", "model.shop.orders.v2"]
    names = [modules.call("view/status", "nameOf", node(one)) for one in ids]
    assert names == ["not_null_orders_id", "orders.adds_up", "orders.v2"]


def runs(*seconds: float, status: str = "success") -> list[dict[str, Any]]:
    return [{"nodes": [node("orders", status, seconds=one)]} for one in seconds]


@pytest.mark.parametrize(
    ("seconds", "growth"),
    [
        ([1, 2], 1),
        ([1, 1, 1, 1, 3, 3], 2),
        ([1], None),
        ([3, 1], None),
        ([1, 1.05], None),
        ([100, 105], None),
    ],
    ids=["two runs", "the newest third", "one run", "faster", "noise", "less than a tenth"],
)
def test_models_that_got_slower_are_found(modules: Modules, seconds: list[float], growth: float) -> None:
    found = modules.call("history_data", "slower", runs(*seconds))
    assert [one["growth"] for one in found] == ([growth] if growth else [])


def test_failed_builds_do_not_count_as_slow(modules: Modules) -> None:
    assert modules.call("history_data", "slower", runs(1, 9, status="error")) == []


def test_a_node_that_fails_again_is_not_flaky(modules: Modules) -> None:
    failed, passed = runs(1, status="error"), runs(1)
    assert modules.call("history_data", "flaky", [failed + failed, passed + failed]) == []
    (found,) = modules.call("history_data", "flaky", [failed + passed + passed, failed + passed])
    assert found["times"] == 2

"""The tab "dbt results" with Airflow's real API, in a real browser, in every state of a task."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

pytest.importorskip("selenium", reason="needs selenium, not installed here")

from selenium.webdriver.common.keys import Keys

from tests.browser import LEAST_CONTRAST, WIDTHS, needs_chromium
from tests.plugins.airflow_server import BASE_PATH, AirflowServer
from tests.plugins.page import Page
from tests.plugins.run_records import describe, node, results
from tests.waiting import wait_until

pytestmark = [pytest.mark.end_to_end, needs_chromium]

LONG = "a_name_without_a_space_" * 8
MESSAGE = f"Database Error: <b>{LONG}</b>"
STALE = {
    "unique_id": "source.shop.raw.orders",
    "name": "raw.orders",
    "status": "error",
    "age": 129600,
    "message": "36.0 hours old, error after 1 day",
}
FAILED = results(
    12,
    [
        node("stg_orders", "error", 2, 3, message=MESSAGE, sql="select 1", critical=True),
        node("test.shop.unique_orders_order_id.abc", "fail", 0.4, 4, message="Got 3 results", rows=3),
        node("orders", "warn", 1, 5, message="Got 1 result"),
        node("mart", "skipped", 0, skipped_by="model.shop.stg_orders"),
        node("report", "skipped", 0, skipped_by="model.shop.stg_orders"),
        node(LONG, "success", 4, 0, thread_id="Thread-2 (worker)", critical=True, rows=61948),
        node("test.shop.not_null_mart_id.abc", "pass", 0.2, 6),
        node("products", "reused", 0),
    ],
    "error",
    status_message="dbt build failed.",
    sources=[STALE],
    left_out=3,
)  # fmt: skip
GOOD = results(
    13, [node("orders", rows=7), node("test.shop.unique_orders_order_id.abc", "pass")], try_number=2
)


def since(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


def failed(airflow: AirflowServer) -> str:
    run_id = airflow.add_dag_run()
    airflow.set_state(run_id, "failed")
    airflow.keep_record(run_id, FAILED)
    airflow.push_results(run_id, FAILED)
    return run_id


def retried(airflow: AirflowServer) -> str:
    run_id = airflow.add_dag_run()
    airflow.set_state(run_id, "success", try_number=2)
    airflow.keep_record(run_id, FAILED)
    airflow.keep_record(run_id, GOOD)
    airflow.push_results(run_id, GOOD)
    return run_id


def waiting(airflow: AirflowServer) -> str:
    run_id = failed(airflow)
    airflow.set_state(run_id, "up_for_retry")
    return run_id


def active(airflow: AirflowServer) -> str:
    run_id = airflow.add_dag_run()
    airflow.set_state(run_id, "deferred", try_number=2)
    airflow.keep_record(run_id, FAILED)
    airflow.keep_record(run_id, describe(14, began=since(100)))
    return run_id


def not_started(airflow: AirflowServer) -> str:
    return airflow.add_dag_run()


STATES = [failed, retried, waiting, active, not_started]


def test_the_page_of_an_active_run_shows_since_when_it_is_active(page: Page) -> None:
    for seconds in (60, 80):
        run_id = page.airflow.add_dag_run()
        page.airflow.set_state(run_id, "success", start_date=since(seconds), duration=seconds)
    page.open_task(active(page.airflow))
    now = page.text(".now")
    assert "dbt Cloud run 14 is active" in now
    assert "Airflow: deferred, try 2 of 3. Since " in now
    assert re.search(r"1 min 4\d s ago", now)
    assert "The last 2 took 1 min 0 s, 1 min 20 s. This one takes longer." in now
    assert page.one(".now a").get_attribute("href") == describe(14)["href"]
    # The try before it is still there.
    assert "dbt Cloud run 12" in page.text("h2 + a, .run h2")


def test_results_appear_by_themselves_and_keep_what_is_open(page: Page) -> None:
    run_id = active(page.airflow)
    page.open_task(run_id)
    page.run_script("window.isTheSamePage = true")
    page.one(".failures summary").click()
    page.one(".search input").send_keys("mart")
    page.run_script("scrollTo(0, 300)")
    # Another poll of the active run changes nothing below it.
    requests = "return performance.getEntriesByType('resource').length"
    before = page.run_script(requests)
    wait_until(lambda: page.run_script(requests) > before, 30)
    assert page.run_script("return scrollY") == 300
    assert page.one(".search input").get_property("value") == "mart"
    assert page.one(".failures pre").is_displayed()
    over = GOOD | {"run_id": 14}
    page.airflow.keep_record(run_id, over)
    page.airflow.push_results(run_id, over)
    page.airflow.set_state(run_id, "success", try_number=2)
    # Read at once: the heading is replaced meanwhile.
    heading = "return document.querySelector('h2').innerText"
    wait_until(lambda: page.run_script(heading).startswith("dbt Cloud run 14 ✓ Success"), 30)
    assert page.run_script("return window.isTheSamePage")
    assert not page.all(".now")
    assert page.texts(".earlier summary")[0].startswith("Earlier: dbt Cloud run 12 ✕ Error · try 1")


def test_what_failed_comes_first_and_skips_are_grouped_by_cause(page: Page) -> None:
    page.open_task(failed(page.airflow))
    text = page.text()
    parts = [
        "dbt Cloud run 12 ✕ Error", "Build jaffle shop", "Production", "4fd1a7c on main", "dbt build failed.",
        "1 error", "What failed", MESSAGE, "test unique orders.order_id", "Got 1 result",
        "2 nodes skipped because of model stg_orders", "raw.orders error: 36.0 hours old", "Timeline",
        "3 more nodes, the least important, are not stored.", "All nodes",
    ]  # fmt: skip
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert "report" not in text[: places[-1]]
    page.one(".failures summary").click()
    assert page.text(".failures pre") == "select 1"


def test_counts_filter_the_table_and_fade_the_timeline(page: Page) -> None:
    page.open_task(failed(page.airflow))
    assert len(page.all(".nodes tbody tr")) == 8
    page.one(".counts .error").click()
    assert page.texts(".nodes tbody td:first-child") == ["✕error"]
    assert len(page.all(".bar.faded")) == 4
    assert page.one(".counts .error").get_attribute("aria-pressed") == "true"
    page.one(".counts .reused").click()
    assert len(page.all(".nodes tbody tr")) == 2
    for kind in ("error", "reused"):
        page.one(f".counts .{kind}").click()
    assert len(page.all(".nodes tbody tr")) == 8
    assert not page.all(".bar.faded")


def test_the_table_searches_sorts_and_shows_full_ids(page: Page) -> None:
    page.open_task(failed(page.airflow))
    names = ".nodes tbody td:nth-child(3)"
    page.one(".search input").send_keys("order fail")
    assert page.texts(names) == ["unique orders.order_id"]
    page.one(f"{names} summary").click()
    assert page.text(f"{names} code") == "test.shop.unique_orders_order_id.abc"
    page.run_script("const search = document.querySelector('.search input'); search.value = '';"
                    "search.dispatchEvent(new Event('input'))")  # fmt: skip
    page.all(".nodes th button")[3].click()
    assert page.texts(names)[:2] == [LONG, "stg_orders"]
    assert page.all(".nodes th")[3].get_attribute("aria-sort") == "ascending"
    page.all(".nodes th button")[3].click()
    assert page.texts(names)[-1] == LONG


def test_the_timeline_can_be_read_and_zoomed_with_the_keyboard(page: Page) -> None:
    page.open_task(failed(page.airflow))
    bars = page.all(".timeline .bar[data-index]")
    # Skipped and reused nodes did not run.
    assert len(bars) == 5
    legend = page.text(".legend")
    for kind in ("error or failed test", "warning", "built", "test passed", "critical path"):
        assert kind in legend
    assert len(page.all(".timeline .critical")) == 2
    page.one(".search input").send_keys("")
    page.run_script("document.querySelector('.timeline').focus({focusVisible: true})")
    tip = page.one(".tip")
    assert tip.text == f"model {LONG}: success, 4 s, 61,948 rows, on the critical path"
    timeline = page.one(".timeline")
    timeline.send_keys(Keys.ARROW_RIGHT)
    assert tip.text == "model stg_orders: error, 2 s, on the critical path"
    timeline.send_keys(Keys.ARROW_RIGHT)
    assert tip.text == "test unique orders.order_id: fail, 0.4 s, 3 failing rows"
    width = "return document.querySelector('.timeline svg').clientWidth"
    before = page.run_script(width)
    timeline.send_keys("+")
    assert page.run_script(width) == 2 * before
    timeline.send_keys(Keys.ENTER)
    assert page.one(".search input").get_property("value") == "test.shop.unique_orders_order_id.abc"


def test_a_hovered_bar_shows_its_node(page: Page) -> None:
    page.open_task(failed(page.airflow))
    bar = page.all(".timeline .bar[data-index]")[1]
    page.run_script("arguments[0].dispatchEvent(new PointerEvent('pointermove', {bubbles: true}))", bar)
    assert page.text(".tip") == "model stg_orders: error, 2 s, on the critical path"


def test_a_retry_does_not_hide_the_try_before_it(page: Page) -> None:
    page.open_task(retried(page.airflow))
    assert page.text("h2") == "dbt Cloud run 13 ✓ Success"
    assert page.texts("nav button") == ["✓run 13: success, try 2", "✕run 12: error, try 1"]
    page.all("nav button")[1].click()
    wait_until(lambda: "stg_orders" in page.text(".earlier"), 10)
    assert "Database Error" in page.text(".earlier .failures")
    assert len(page.all(".earlier .timeline .bar[data-index]")) == 5


def test_while_a_retry_waits_the_failed_try_is_shown(page: Page) -> None:
    page.open_task(waiting(page.airflow))
    assert "Waiting for try 2 of 3" in page.text(".now")
    assert page.text(".run h2") == "dbt Cloud run 12 ✕ Error"


def test_results_are_shown_from_the_xcom_alone(page: Page) -> None:
    run_id = page.airflow.add_dag_run()
    page.airflow.set_state(run_id, "success")
    page.airflow.push_results(
        run_id, {key: GOOD[key] for key in ("run_id", "href", "counts", "nodes", "seconds")}
    )
    page.open_task(run_id)
    assert page.text("h2").startswith("dbt Cloud run 13")
    assert len(page.all(".nodes tbody tr")) == 2


def test_more_nodes_than_a_record_holds_come_from_the_xcom(page: Page) -> None:
    run_id = failed(page.airflow)
    page.airflow.keep_record(run_id, FAILED | {"nodes": FAILED["nodes"][:1], "left_out": 10})
    page.open_task(run_id)
    assert len(page.all(".nodes tbody tr")) == 8


@pytest.mark.parametrize(
    ("task_id", "state", "sentence"),
    [
        ("other", "success", "This task runs no dbt Cloud job."),
        ("run_dbt", "skipped", "The task was skipped: it started no dbt Cloud run."),
        ("run_dbt", "upstream_failed", "A task before this one failed: this one started no dbt Cloud run."),
        ("run_dbt", "failed", "No dbt Cloud run of this task is known. The task's log says why."),
    ],
)
def test_the_page_of_a_task_without_results_says_why(
    page: Page, task_id: str, state: str, sentence: str
) -> None:
    run_id = page.airflow.add_dag_run()
    page.airflow.set_state(run_id, state, task_id)
    page.expected_errors = ["run_results"]
    page.open_task(run_id, task_id)
    assert page.text() == sentence


def test_each_instance_of_a_mapped_task_has_its_own_results(page: Page) -> None:
    run_id = page.airflow.add_dag_run()
    page.airflow.set_state(run_id, "success", "mapped")
    for index, run in enumerate((GOOD, FAILED)):
        page.airflow.keep_record(run_id, run, "mapped", index)
    for index, number in enumerate((13, 12)):
        page.open(page.airflow.task_page(run_id, "mapped", index))
        assert page.text("h2").startswith(f"dbt Cloud run {number}")
    page.expected_errors = ["taskInstances/mapped"]
    page.open_task(run_id, "mapped")
    assert page.text("h2") == "Mapped task"
    tab = f"{page.airflow.url}/dags/dbt_pages/runs/{run_id}/tasks/mapped/mapped/1/plugin/dbt_results"
    assert page.all("li a")[1].get_attribute("href") == tab


@pytest.mark.parametrize(
    ("role", "sentence"), [("logged out", "You are logged out of Airflow."), (None, "You may not see this")]
)
def test_without_permission_the_page_shows_a_message_and_no_data(
    page: Page, role: str | None, sentence: str
) -> None:
    run_id = failed(page.airflow)
    page.expected_errors = ["401", "403"]
    if role is None:
        page.log_in(None)
    else:
        page.log_out()
    page.open_task(run_id)
    assert page.text("[role=alert]").startswith(sentence)
    assert "stg_orders" not in page.browser.page_source


def test_it_works_below_a_base_path(page: Page) -> None:
    run_id = failed(page.airflow)
    address = page.airflow.task_page(run_id).replace("/dbt-results/", f"{BASE_PATH}/dbt-results/")
    page.open(address)
    assert page.text("h2") == "dbt Cloud run 12 ✕ Error"
    loaded = page.run_script("return performance.getEntriesByType('resource').map((one) => one.name)")
    assert all(name.startswith(f"{page.airflow.url}{BASE_PATH}/") for name in loaded)


@pytest.mark.parametrize("width", [390, 320])
@pytest.mark.parametrize("state", STATES)
def test_it_is_no_wider_than_a_phone(page: Page, state: Callable[[AirflowServer], str], width: int) -> None:
    page.open_task(state(page.airflow), width=width)
    page.run_script("for (const one of document.querySelectorAll('details')) one.open = true")
    assert page.run_script(WIDTHS) == [width, width]


@pytest.mark.parametrize("state", STATES)
def test_both_color_schemes_differ_and_have_enough_contrast(
    page: Page, state: Callable[[AirflowServer], str]
) -> None:
    run_id, backgrounds = state(page.airflow), set()
    for scheme in ("light", "dark"):
        page.open_task(run_id, scheme=scheme)
        page.run_script("for (const one of document.querySelectorAll('details')) one.open = true")
        least, text = page.run_script(LEAST_CONTRAST)
        # WCAG 2.2, level AA.
        assert least >= 4.5, (scheme, text)
        backgrounds.add(page.run_script("return getComputedStyle(document.body).backgroundColor"))
    assert len(backgrounds) == 2


def test_two_thousand_nodes_are_drawn_and_searched(page: Page) -> None:
    nodes = [
        node(f"model_{number}", seconds=1.4, start=number / 8, thread_id=f"Thread-{number % 8} (worker)")
        for number in range(2000)
    ]
    run_id = page.airflow.add_dag_run()
    page.airflow.set_state(run_id, "success")
    page.airflow.push_results(run_id, results(99, nodes))
    page.open_task(run_id)
    assert len(page.all(".timeline .bar[data-index]")) == 2000
    assert len(page.all(".nodes tbody tr")) == 200
    # Not checked, only printed: pytest shows it with -s.
    print("milliseconds until all is drawn:", page.run_script("return Math.round(performance.now())"))
    page.one(".search input").send_keys("model_1999")
    assert page.texts(".nodes tbody td:nth-child(3)") == ["model_1999"]


def open_tab(page: Page, path: str, css: str) -> None:
    """Open a tab of Airflow's UI, and wait in its frame for an element."""
    # Airflow's UI writes its own messages to the console.
    page.expected_errors = [""]
    page.browser.get(f"{page.airflow.url}/dags/dbt_pages/{path}")
    wait_until(lambda: page.all("iframe"), 60)
    page.browser.switch_to.frame(page.one("iframe"))
    wait_until(lambda: page.all(css), 60)


def test_the_tab_follows_airflows_theme_and_opens_links_outside(page: Page) -> None:
    run_id = failed(page.airflow)
    open_tab(page, f"runs/{run_id}/tasks/run_dbt/plugin/dbt_results", ".timeline .bar")
    is_dark = "return document.documentElement.classList.contains('dark')"
    before = page.run_script(is_dark)
    page.run_script("parent.document.documentElement.classList.toggle('dark')")
    wait_until(lambda: page.run_script(is_dark) is not before, 10)
    # The frame cannot open windows: Airflow's page does.
    page.one(".title a").click()
    wait_until(lambda: len(page.browser.window_handles) == 2, 30)
    page.browser.switch_to.window(page.browser.window_handles[1])
    page.browser.close()
    page.browser.switch_to.window(page.browser.window_handles[0])


def test_a_mapped_instance_has_the_tab_in_airflow(page: Page) -> None:
    run_id = page.airflow.add_dag_run()
    page.airflow.set_state(run_id, "success", "mapped")
    page.airflow.keep_record(run_id, FAILED, "mapped", 1)
    open_tab(page, f"runs/{run_id}/tasks/mapped/mapped/1/plugin/dbt_results", ".timeline .bar")
    assert page.text("h2") == "dbt Cloud run 12 ✕ Error"


def test_a_dag_has_the_history_tab_in_airflow(page: Page) -> None:
    failed(page.airflow)
    open_tab(page, "plugin/dbt_history", ".chart .bar")
    assert page.text("h2") == "dbt history of dbt_pages"

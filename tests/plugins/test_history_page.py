"""The tab "dbt history" with Airflow's real API, in a real browser."""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

pytest.importorskip("selenium", reason="needs selenium, not installed here")

from selenium.webdriver.support.ui import Select

from tests.browser import LEAST_CONTRAST, WIDTHS, needs_chromium
from tests.plugins.airflow_server import AirflowServer
from tests.plugins.page import Page
from tests.plugins.run_records import describe, node, results
from tests.waiting import wait_until

pytestmark = [pytest.mark.end_to_end, needs_chromium]

UNIQUE = "test.shop.unique_orders_order_id.abc"


def days_ago(days: float) -> datetime:
    return datetime.now(UTC) - timedelta(days=days)


def add_run(
    airflow: AirflowServer, number: int, nodes: list[dict[str, Any]], outcome: str = "success"
) -> str:
    """Add a Dag run with results, the higher its number the later; return its id."""
    began = days_ago(100 - number)
    run_id = airflow.add_dag_run(began)
    airflow.push_results(run_id, results(number, nodes, outcome) | describe(number, outcome, began))
    return run_id


def fill(airflow: AirflowServer) -> None:
    """Add runs in which orders gets slower and a test fails twice."""
    for number in range(1, 10):
        bad = number in (3, 7)
        nodes = [node("orders", seconds=number), node("stable"), node(UNIQUE, "fail" if bad else "pass")]
        add_run(airflow, number, nodes, "error" if bad else "success")


def table(page: Page, number: int) -> list[list[str]]:
    """Return the texts of a table's cells."""
    rows = page.all("table")[number].find_elements("css selector", "tbody tr")
    return [[cell.text for cell in row.find_elements("css selector", "td")] for row in rows]


def test_slow_models_failing_tests_and_outcomes_are_shown(page: Page) -> None:
    fill(page.airflow)
    page.open(page.airflow.history_page)
    facts = page.text(".facts").split("\n")
    assert facts[:6] == ["Runs", "9", "Succeeded", "7", "Not succeeded", "2"]
    assert table(page, 0) == [["orders", "3.5 s", "8 s", "+4.5 s", ""]]
    assert table(page, 1) == [["unique orders.order_id", "2", "9"]]
    assert len(page.all(".chart .bar.success[height]:not([height='9'])")) == 7
    assert len(page.all(".chart .bar.error[height]:not([height='9'])")) == 2
    assert page.text(".legend") == "✓ success\n✕ error\nqueued in dbt Cloud"
    assert "Read with 11 requests" in page.text()
    assert "Nothing is left out." in page.text()


def test_it_is_useful_from_the_second_run_on(page: Page) -> None:
    page.open(page.airflow.history_page)
    assert page.text() == "This Dag has not run yet."
    add_run(page.airflow, 1, [node("orders", seconds=1)])
    page.open(page.airflow.history_page)
    assert "This needs a second run." in page.text()
    add_run(page.airflow, 2, [node("orders", seconds=2)])
    page.open(page.airflow.history_page)
    assert table(page, 0) == [["orders", "1 s", "2 s", "+1 s", ""]]


def test_a_dag_without_dbt_shows_a_message(page: Page) -> None:
    page.airflow.add_dag_run()
    page.open(page.airflow.history_page)
    assert page.text() == "No task of this Dag has dbt results."


def test_a_node_that_passes_on_a_retry_is_flaky(page: Page) -> None:
    run_id = page.airflow.add_dag_run()
    page.airflow.keep_record(run_id, results(1, [node("orders", "error", message="Deadlock")], "error"))
    again = results(2, [node("orders")]) | {"try_number": 2}
    page.airflow.keep_record(run_id, again)
    page.airflow.push_results(run_id, again)
    page.open(page.airflow.history_page)
    assert table(page, 0) == [["orders", "1"]]


def shows(page: Page, model: str) -> bool:
    """Return whether a model is the first that got slower."""
    return table(page, 0)[0][0] == model


def test_each_job_of_a_mapped_task_has_its_history(page: Page) -> None:
    for number in (1, 2, 3):
        run_id = page.airflow.add_dag_run(days_ago(10 - number))
        for index, job in enumerate(("Orders", "Customers")):
            run = results(number * 10 + index, [node(job.lower(), seconds=number * (index + 1))])
            run |= {"job_id": 101 + index, "job": job}
            page.airflow.push_results(run_id, run, "mapped", index)
    # An earlier task instance with this map index ran another job.
    run_id = page.airflow.add_dag_run(days_ago(20))
    other = results(1, [node("customers", seconds=1)]) | {"job_id": 102, "job": "Customers"}
    page.airflow.push_results(run_id, other, "mapped", 0)
    page.open(page.airflow.history_page)
    choice = Select(page.one("#job"))
    assert sorted(option.text for option in choice.options) == ["Customers", "Orders"]
    for job, ran, growth in (("Orders", "3", "+1.5 s"), ("Customers", "4", "+4 s")):
        choice.select_by_visible_text(job)
        wait_until(partial(shows, page, job.lower()), 10)
        assert page.text(".facts").split("\n")[1] == ran
        assert table(page, 0)[0][3] == growth


def test_requests_are_bounded_and_omitted_runs_are_reported(page: Page) -> None:
    for number in range(55):
        add_run(page.airflow, number, [node("orders", seconds=1)])
    page.open(page.airflow.history_page)
    assert page.text(".facts").split("\n")[1] == "50"
    note = page.texts("p.soft")[-1]
    assert note.startswith("Read with 52 requests")
    assert "Left out: older Dag runs than the last 50 of 55" in note
    calls = (
        "return performance.getEntriesByType('resource').filter((one) => one.name.includes('/api/')).length"
    )
    assert page.run_script(calls) == 52


def test_results_of_many_mapped_tasks_are_bounded(page: Page) -> None:
    for number in range(27):
        run_id = page.airflow.add_dag_run(days_ago(30 - number))
        for index in (0, 1):
            page.airflow.push_results(run_id, results(number * 2 + index, [node("orders")]), "mapped", index)
    page.open(page.airflow.history_page)
    assert page.text(".facts").split("\n")[1] == "50"
    assert "Left out: 4 older results of this job." in page.text()


def test_it_fits_a_phone_and_both_schemes_have_contrast(page: Page) -> None:
    fill(page.airflow)
    page.open(page.airflow.history_page, width=390)
    page.run_script("for (const one of document.querySelectorAll('details')) one.open = true")
    assert page.run_script(WIDTHS) == [390, 390]
    for scheme in ("light", "dark"):
        page.open(page.airflow.history_page, scheme=scheme)
        least, text = page.run_script(LEAST_CONTRAST)
        assert least >= 4.5, (scheme, text)


def test_logged_out_users_see_no_history(page: Page) -> None:
    fill(page.airflow)
    page.log_out()
    page.expected_errors = ["401"]
    page.open(page.airflow.history_page)
    assert page.text("[role=alert]").startswith("You are logged out of Airflow.")
    assert "orders" not in page.text()

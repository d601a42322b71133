"""The tab's page in a real browser: on a phone, dark and light, with a run that failed."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("selenium", reason="needs selenium, not installed here")

from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from plugins.dbt_results.pages import TEMPLATES
from plugins.dbt_results.timeline import draw
from tests.browser import LEAST_CONTRAST, WIDTHS, chromium, needs_chromium, show

pytestmark = [pytest.mark.end_to_end, needs_chromium]

LONG = "a_name_without_a_space_" * 8


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    with chromium() as browser:
        yield browser


def node(number: int, status: str, **more: Any) -> dict[str, Any]:
    return {
        "unique_id": f"model.shop.{LONG}{number}",
        "status": status,
        "thread_id": f"Thread-{number % 4} (worker)",
        "execution_time": 1.5,
        "started_at": (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number)).isoformat(),
        **more,
    }


FAILED = {
    "run_id": 7,
    "href": "https://ab123.us1.dbt.com/deploy/1/projects/1/runs/7/",
    "counts": {"error": 1, "fail": 1, "warn": 1, "skipped": 2, "success": 40, "pass": 1},
    "seconds": 60.5,
    "left_out": 3,
    "nodes": [
        node(0, "error", message=f"Database Error: {LONG}"),
        node(1, "fail", message="Got 3 results, <b>configured</b> to fail if != 0"),
        node(2, "warn", message="Got 1 result"),
        node(3, "skipped", message="", started_at=None),
        node(4, "skipped", message="", started_at=None),
        *(node(number, "success") for number in range(5, 45)),
        node(45, "pass"),
    ],
}


def open_page(browser: Chrome, directory: Path, results: dict[str, Any] | None) -> None:
    timeline = draw(results["nodes"]) if results else None
    page = directory / "page.html"
    page.write_text(
        TEMPLATES.get_template("page.html").render(
            results=results, timeline=timeline, task_id="trigger_job", nonce="n"
        )
    )
    browser.get(page.as_uri())


@pytest.mark.parametrize("results", [FAILED, None], ids=["a run that failed", "no results"])
@pytest.mark.parametrize("width", [390, 320])
def test_it_is_no_wider_than_a_phone(
    browser: Chrome, tmp_path: Path, results: dict[str, Any] | None, width: int
) -> None:
    show(browser, width)
    open_page(browser, tmp_path, results)
    browser.execute_script("for (const one of document.querySelectorAll('details')) one.open = true")
    assert browser.execute_script(WIDTHS) == [width, width]


@pytest.mark.parametrize("results", [FAILED, None], ids=["a run that failed", "no results"])
def test_dark_and_light_differ_and_all_text_stands_out(
    browser: Chrome, tmp_path: Path, results: dict[str, Any] | None
) -> None:
    backgrounds = set()
    for scheme in ("light", "dark"):
        show(browser, scheme=scheme)
        open_page(browser, tmp_path, results)
        least, text = browser.execute_script(LEAST_CONTRAST)
        # What WCAG 2.2 asks for at level AA.
        assert least >= 4.5, (scheme, text)
        backgrounds.add(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))
    assert len(backgrounds) == 2


def test_what_failed_comes_first_and_what_was_skipped_is_folded(browser: Chrome, tmp_path: Path) -> None:
    show(browser)
    open_page(browser, tmp_path, FAILED)
    text = browser.find_element(By.TAG_NAME, "body").text
    order = [
        "Database Error",
        "Got 3 results, <b>configured</b>",
        "Got 1 result",
        "2 skipped, because",
        "Timeline",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert f"{LONG}3" not in text[: places[-1]]
    assert "3 more nodes, the least important, are left out" in text
    assert len(browser.find_elements(By.CSS_SELECTOR, "svg .bar")) == 44

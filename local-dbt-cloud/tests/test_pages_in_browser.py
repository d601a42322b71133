"""The pages in a real browser: actions, automatic refresh, phones, keyboard, colors, other origins."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from browser import LEAST_CONTRAST, WIDTHS, chromium, needs_chromium, show
from local_dbt_cloud.database import Job, Run, utc_now
from local_dbt_cloud.fault_injection import Fault
from local_dbt_cloud.run_status import RunStatus
from running_cloud import RunningCloud, running_cloud
from tiny_account import FAILING, QUICK, SLOW

pytestmark = [pytest.mark.end_to_end, needs_chromium]

LONG = "a_name_without_a_space_" * 11


@dataclass
class Pages:
    """The pages in a browser.

    :param expected_errors: Texts of console messages that do not fail the test.
    """

    browser: Chrome
    cloud: RunningCloud
    expected_errors: list[str] = field(default_factory=list)

    def open(self, path: str) -> None:
        """Open a page by its path."""
        self.browser.get(self.cloud.service.pages_url + path)

    def open_run(self, run_id: int) -> None:
        """Open the page of a run."""
        self.open(f"/deploy/1/projects/1/runs/{run_id}/")

    def all(self, selector: str) -> list[Any]:
        """Find all elements by a CSS selector."""
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str = "main") -> str:
        """Return the visible text of the first element that matches a CSS selector."""
        return self.browser.find_element(By.CSS_SELECTOR, selector).text

    def click(self, selector: str) -> None:
        """Click the first element that matches a CSS selector."""
        self.browser.find_element(By.CSS_SELECTOR, selector).click()

    def follow(self, text: str) -> None:
        """Click a link by its text."""
        self.browser.find_element(By.LINK_TEXT, text).click()

    def run_script(self, script: str) -> Any:
        """Run a script in the page."""
        return self.browser.execute_script(script)

    def until(self, condition: Callable[[], Any]) -> None:
        """Wait for a condition without reloading the page."""
        # Elements may disappear between two commands.
        wait = WebDriverWait(self.browser, 60, 0.05, ignored_exceptions=[WebDriverException])
        wait.until(lambda _: condition())

    def until_shown(self, text: str, selector: str = "main") -> None:
        """Wait until an element contains a text."""
        self.until(lambda: text in " ".join(self.text(selector).split()))


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def cloud(tiny_cloud: RunningCloud) -> RunningCloud:
    return tiny_cloud


@pytest.fixture
def pages(browser: Chrome, cloud: RunningCloud) -> Iterator[Pages]:
    pages = Pages(browser, cloud)
    show(browser)
    yield pages
    browser.get("about:blank")
    messages = [entry["message"] for entry in browser.get_log("browser")]
    assert [text for text in messages if not any(part in text for part in pages.expected_errors)] == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
    ours = (cloud.service.pages_url, "data:", "about:blank")
    asked = {one["request"]["url"] for one in requests if one["documentURL"].startswith(ours)}
    assert asked
    assert not [url for url in asked if not url.startswith(ours)]


def end(cloud: RunningCloud, run_id: int, status: RunStatus) -> None:
    with cloud.service.sessions.begin() as session:
        run = session.get_one(Run, run_id)
        run.status, run.finished_at = status, utc_now()


def paths_of_all_pages(cloud: RunningCloud) -> list[str]:
    """Create jobs, runs and faults with long texts; return the paths of all pages."""
    with cloud.service.sessions.begin() as session:
        job = session.get_one(Job, QUICK)
        job.definition = job.definition | {
            "name": LONG,
            "description": LONG,
            "execute_steps": [f"dbt {LONG}"],
        }
    cloud.service.faults.add(Fault(path=LONG, status=503, times=None))
    trigger = {"cause": LONG, "steps_override": [LONG]}
    for status in RunStatus:
        run_id = cloud.add_run(
            status, job_id=QUICK, status_message=LONG, trigger=trigger, started_at=utc_now()
        )
        log = f"{LONG * 9}\n" * 99
        cloud.add_step(run_id, name=f"Step {LONG}", log=log, artifacts={LONG: ""})
        if status in (RunStatus.SUCCESS, RunStatus.ERROR, RunStatus.CANCELLED):
            end(cloud, run_id, status)
    for _ in range(60):
        cloud.add_run(job_id=QUICK, finished_at=utc_now())
    runs = [f"/deploy/1/projects/1/runs/{number}/" for number in range(1, len(RunStatus) + 1)]
    lists = [f"/deploy/1/runs/{query}" for query in ("", "?page=2", "?page=9", f"?job={FAILING}&status=2")]
    return ["/", *lists, f"/deploy/1/projects/1/jobs/{QUICK}", *runs, "/nothing"]


def test_run_now_shows_the_run_until_it_succeeds(pages: Pages) -> None:
    pages.open("/")
    pages.click(f"#job-{QUICK} button")
    pages.until_shown("Run 1", "h1")
    assert pages.text("h1 .status") in ("Queued", "Starting", "Running")
    assert pages.text("form") == "Cancel the run"
    pages.run_script("window.isTheSamePage = true")
    pages.until_shown("Success", "h1")
    assert "Success" in pages.browser.title
    assert pages.run_script("return window.isTheSamePage")
    assert not pages.all("form")

    # The refresh has put the results into the page.
    bars = "return document.querySelector('run-results').shadowRoot.querySelectorAll('[data-index]').length"
    pages.until(lambda: pages.run_script(bars) == 1)

    pages.click("#artifacts-4 summary")
    pages.follow("run_results.json")
    pages.until(lambda: pages.browser.current_url.endswith("/artifacts/4/run_results.json"))
    results = json.loads(pages.text("pre"))["results"]
    assert [result["status"] for result in results] == ["success"]
    pages.open("/")
    pages.until_shown("Success run 1", f"#job-{QUICK}")


def test_logs_grow_until_the_run_is_canceled(pages: Pages) -> None:
    pages.open("/")
    pages.click(f"#job-{SLOW} button")
    pages.until_shown("Run 1", "h1")
    pages.run_script("window.isTheSamePage = true")
    logs = 'return [...document.querySelectorAll("pre")].map((log) => log.textContent).join("")'
    pages.until(lambda: pages.run_script(logs))
    first = pages.run_script(logs)
    pages.until(lambda: "Concurrency" in pages.run_script(logs))
    assert len(pages.run_script(logs)) > len(first)
    assert pages.run_script("return window.isTheSamePage")
    assert pages.text("h1 .status") == "Running"
    pages.click("#cancel button")
    pages.until_shown("Cancelled", "h1")
    assert "Cancelled by user." in pages.text()
    assert not pages.all("form")


def test_failed_run_opens_its_failed_step_and_is_retried(pages: Pages) -> None:
    failed = pages.cloud.wait(pages.cloud.trigger(FAILING)["id"])["id"]
    pages.open_run(failed)
    assert [step.get_attribute("id") for step in pages.all("details[open]")] == ["step-4"]
    assert "on purpose" in pages.text("#step-4 pre")
    assert pages.text("#retry") == "Retry from the point of failure"
    pages.click("#retry button")
    pages.until_shown(f"Run {failed + 1}", "h1")
    assert f"Retries run {failed}" in pages.text()
    pages.follow(f"run {failed}")
    pages.until_shown(f"Run {failed} ", "h1")
    # The retry is a newer run of the job.
    assert not pages.all("form")


def test_runs_are_filtered_and_paged(pages: Pages) -> None:
    for _ in range(60):
        pages.cloud.add_run(job_id=QUICK, finished_at=utc_now())
    failed = [pages.cloud.add_run(RunStatus.ERROR, job_id=FAILING, finished_at=utc_now()) for _ in range(3)]

    def shown() -> list[int]:
        return [int(link.text) for link in pages.all("tbody a")]

    def choose(**choices: str) -> None:
        for name, text in choices.items():
            Select(pages.all(f"[name={name}]")[0]).select_by_visible_text(text)
        pages.click(".filter button")

    pages.open("/")
    pages.follow("Runs")
    pages.until(lambda: shown() == list(range(63, 13, -1)))
    choose(job=f"one ({QUICK})")
    pages.until(lambda: shown() == list(range(60, 10, -1)))
    pages.follow("Older")
    pages.until(lambda: shown() == list(range(10, 0, -1)))
    assert "page 2 of 2" in pages.text("nav.pages")
    assert "Older" not in pages.text("nav.pages")
    pages.follow("Newer")
    pages.until(lambda: shown() == list(range(60, 10, -1)))
    choose(job="all", status="Error")
    pages.until(lambda: shown() == failed[::-1])
    choose(job=f"one ({QUICK})")
    pages.until_shown("No runs match these filters.")
    pages.follow("Show all runs")
    pages.until(lambda: len(shown()) == 50)
    pages.follow("63")
    pages.until_shown("Run 63", "h1")


def test_fault_is_shown_and_cleared(pages: Pages) -> None:
    pages.open("/")
    assert not pages.all("#faults")
    pages.cloud.service.faults.add(Fault(path="runs", status=503, times=3))
    pages.until_shown("1 active fault")
    assert "any method runs 3 times: status 503" in pages.text("#faults")
    pages.click("#faults button")
    pages.until(lambda: not pages.all("#faults"))
    assert pages.cloud.service.faults.all() == []


def test_job_page_draws_the_durations_of_its_runs(pages: Pages) -> None:
    for status in (RunStatus.SUCCESS, RunStatus.ERROR):
        pages.cloud.add_run(status, job_id=QUICK, started_at=utc_now(), finished_at=utc_now())
    pages.open("/")
    pages.click(f"#job-{QUICK} h2 a")
    bars = (
        "const chart = document.querySelector('duration-chart')?.shadowRoot;"
        "return chart && [...chart.querySelectorAll('g > .bar')].map((bar) => bar.getAttribute('class'))"
    )
    pages.until(lambda: pages.run_script(bars) == ["bar success", "bar error"])


def test_home_shows_a_run_that_the_api_started(pages: Pages) -> None:
    pages.open("/")
    assert "No runs yet" in pages.text(f"#job-{QUICK}")
    pages.cloud.add_run(RunStatus.RUNNING, job_id=QUICK)
    pages.until_shown("Running run 1", f"#job-{QUICK}")


def test_refresh_keeps_scroll_selection_focus_and_open_steps(pages: Pages) -> None:
    run_id = pages.cloud.add_run(RunStatus.RUNNING, job_id=QUICK, started_at=utc_now())
    pages.cloud.add_step(run_id, 1, log="first\n", status=RunStatus.SUCCESS)
    pages.cloud.add_step(run_id, 2, log="a line\n" * 200, status=RunStatus.RUNNING)
    log = pages.cloud.service.data.step_log(run_id, 2)

    def scroll_position() -> Any:
        script = "const log = document.querySelector('#step-2 pre'); return [log.scrollTop, {}];"
        return pages.run_script(script.format("log.scrollHeight - log.clientHeight - log.scrollTop"))

    def write(line: str) -> None:
        with log.open("a") as file:
            file.write(f"{line}\n" * 20)
        pages.until(lambda: line in pages.all("#step-2 pre")[0].get_property("textContent"))

    pages.open_run(run_id)
    assert scroll_position()[1] < 2
    pages.click("#step-1 summary")
    pages.run_script("document.querySelector('#cancel button').focus()")
    select = "getSelection().setBaseAndExtent(log, 0, log, 6)"
    pages.run_script(f"const log = document.querySelector('#step-2 pre').firstChild; {select}")
    write("at the end")
    assert scroll_position()[1] < 2
    pages.run_script("document.querySelector('#step-2 pre').scrollTop = 50")
    write("while the user has scrolled up")
    assert scroll_position()[0] == 50
    assert pages.run_script("return String(getSelection())") == "a line"
    assert pages.run_script("return document.activeElement.textContent") == "Cancel the run"

    # The page opens the running step, and steps that the user opened stay open.
    pages.cloud.add_step(run_id, 3, log="third", status=RunStatus.RUNNING)
    pages.until_shown("third")
    opened = [step.get_attribute("id") for step in pages.all("details[open]")]
    assert opened == ["step-1", "step-3"]
    end(pages.cloud, run_id, RunStatus.SUCCESS)
    pages.until_shown("Success", "h1")
    assert not pages.all("#cancel")
    assert [step.get_attribute("id") for step in pages.all("details[open]")] == opened


def test_refresh_keeps_an_unsubmitted_filter(pages: Pages) -> None:
    pages.cloud.add_run(RunStatus.RUNNING, job_id=QUICK)
    pages.open("/deploy/1/runs/")
    Select(pages.all("[name=status]")[0]).select_by_visible_text("Error")
    pages.cloud.add_run(RunStatus.RUNNING, job_id=QUICK)
    pages.until(lambda: pages.all("#run-2"))
    assert Select(pages.all("[name=status]")[0]).first_selected_option.text == "Error"


def test_lost_connection_is_shown(browser: Chrome, tmp_path: Path, tiny_account: Path) -> None:
    with running_cloud(tmp_path / "data", tiny_account) as cloud:
        pages = Pages(browser, cloud)
        pages.open("/")
        assert not pages.all("#connection-lost")[0].is_displayed()
    pages.until_shown("No connection to the local dbt Cloud.")
    assert "Run now" in pages.text()
    browser.get("about:blank")
    # Discard the console messages about failed requests.
    browser.get_log("browser")


def test_pages_work_with_the_keyboard_only(pages: Pages) -> None:
    pages.open("/")
    focus = "const at = document.activeElement; return [at.ariaLabel, getComputedStyle(at).outlineStyle]"
    name = None
    while name != "Run now: one":
        pages.browser.switch_to.active_element.send_keys(Keys.TAB)
        name, outline = pages.run_script(focus)
        assert outline == "solid"
    pages.browser.switch_to.active_element.send_keys(Keys.ENTER)
    pages.until_shown("Run 1", "h1")


def test_pages_fit_a_phone_screen(pages: Pages) -> None:
    show(pages.browser, width=390)
    pages.expected_errors = ["404"]
    for path in paths_of_all_pages(pages.cloud):
        pages.open(path)
        pages.run_script("for (const one of document.querySelectorAll('details')) one.open = true")
        assert pages.run_script(WIDTHS) == [390, 390], path


def test_both_color_schemes_have_enough_contrast(pages: Pages) -> None:
    pages.expected_errors = ["404"]
    backgrounds = set()
    for path in paths_of_all_pages(pages.cloud):
        pages.open(path)
        for scheme in ("light", "dark"):
            show(pages.browser, scheme=scheme)
            least, text = pages.run_script(LEAST_CONTRAST)
            # WCAG 2.2, level AA.
            assert least >= 4.5, (path, scheme, text)
            backgrounds.add(
                (scheme, pages.run_script("return getComputedStyle(document.body).backgroundColor"))
            )
    assert len({color for _, color in backgrounds}) == len(backgrounds) == 2


@pytest.fixture
def other_origin(tmp_path: Path, cloud: RunningCloud) -> Iterator[str]:
    """Address of a page on another origin, with a form that triggers a job and a frame with our home page."""
    site = tmp_path / "site"
    site.mkdir()
    ours = cloud.service.pages_url
    form = f"<form method=post action={ours}/deploy/1/jobs/{QUICK}/run/><button>Win a prize</button></form>"
    (site / "index.html").write_text(f"<link rel=icon href=data:,>{form}<iframe src={ours}/></iframe>")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        # Only the port differs, which browsers call same-site.
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_cross_origin_form_is_rejected(pages: Pages, other_origin: str) -> None:
    pages.expected_errors = ["403", "frame-ancestors"]
    pages.browser.get(other_origin)
    pages.click("button")
    pages.until_shown("The action was not performed")
    status = "return performance.getEntriesByType('navigation')[0].responseStatus"
    assert pages.run_script(status) == 403
    assert pages.cloud.get("runs/") == []


def test_pages_cannot_be_framed_by_another_origin(pages: Pages, other_origin: str) -> None:
    pages.expected_errors = ["frame-ancestors"]
    pages.browser.get(other_origin)
    pages.browser.switch_to.frame(0)
    assert not pages.all("button")
    pages.browser.switch_to.default_content()
    assert pages.all("button")

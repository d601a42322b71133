"""A page of the plugin in a real browser."""

from typing import Any

from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.browser import show
from tests.plugins.airflow_server import AirflowServer, token
from tests.waiting import wait_until


class Page:
    """A page, and what a user does on it.

    ``expected_errors`` are parts of the console messages that a test expects.
    """

    def __init__(self, browser: Chrome, airflow: AirflowServer) -> None:
        self.browser = browser
        self.airflow = airflow
        self.expected_errors: list[str] = []
        self.log_in("VIEWER")

    def log_in(self, role: str | None) -> None:
        """Log in as a user with a role; None is a user without permissions."""
        self.log_out()
        self.browser.add_cookie({"name": "_token", "value": token(role), "path": "/"})

    def log_out(self) -> None:
        """Forget who is logged in."""
        # Cookies can only be changed on a page of the site.
        self.browser.get(f"{self.airflow.url}/dbt-results/view/style.css")
        self.browser.delete_all_cookies()
        self.browser.get_log("browser")

    def open(self, address: str, width: int = 1280, scheme: str = "light") -> None:
        """Open a page and wait until it has loaded its data."""
        show(self.browser, width, scheme=scheme)
        self.browser.get(address)
        wait_until(lambda: not self.all("[aria-busy]"), 30)

    def open_task(self, run_id: str, task_id: str = "run_dbt", **options: Any) -> None:
        """Open the page of a task instance."""
        self.open(self.airflow.task_page(run_id, task_id), **options)

    def all(self, css: str) -> list[WebElement]:
        """Return the elements that a selector finds."""
        return self.browser.find_elements(By.CSS_SELECTOR, css)

    def one(self, css: str) -> WebElement:
        """Return the first element that a selector finds."""
        return self.browser.find_element(By.CSS_SELECTOR, css)

    def text(self, css: str = "body") -> str:
        """Return the visible text of an element."""
        return self.one(css).text

    def texts(self, css: str) -> list[str]:
        """Return the visible texts of elements."""
        return [element.text for element in self.all(css)]

    def run_script(self, script: str, *arguments: Any) -> Any:
        """Run JavaScript in the page; return what it returns."""
        return self.browser.execute_script(script, *arguments)

    def unexpected_errors(self) -> list[str]:
        """Return the messages of the console, such as violations of the policy, that no test expects."""
        messages = [entry["message"] for entry in self.browser.get_log("browser")]
        return [message for message in messages if not any(part in message for part in self.expected_errors)]

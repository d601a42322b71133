"""A Chromium without a window, and how wide and how light it shows a page."""

import contextlib
import shutil
from collections.abc import Iterator
from tempfile import TemporaryDirectory

from selenium.webdriver import Chrome, ChromeOptions, ChromeService

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CHROMEDRIVER = shutil.which("chromedriver")
# Whether there is one; a browser without its driver is none.
IS_HERE = bool(CHROMIUM and CHROMEDRIVER)


@contextlib.contextmanager
def chromium() -> Iterator[Chrome]:
    """Run a browser while the block runs; its logs have what pages complain of, and what they ask for."""
    # With both paths given, Selenium does not look for a browser in the network.
    options = ChromeOptions()
    options.binary_location = str(CHROMIUM)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for argument in (
            "--no-sandbox",
            "--headless=new",
            "--disable-dev-shm-usage",
            f"--user-data-dir={profile}",
        ):
            options.add_argument(argument)
        browser = Chrome(options, ChromeService(CHROMEDRIVER))
        try:
            yield browser
        finally:
            browser.quit()


def show(browser: Chrome, width: int = 1280, height: int = 800, scheme: str = "light") -> None:
    """Make the screen so many pixels wide and high, that of a phone below 600, and prefer dark or light."""
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

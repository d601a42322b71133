"""A headless Chromium for tests, and scripts that measure a page."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from tempfile import TemporaryDirectory

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CHROMEDRIVER = shutil.which("chromedriver")
IS_INSTALLED = bool(CHROMIUM and CHROMEDRIVER)

# In CI, fail instead: nobody would notice a skipped test.
needs_chromium = pytest.mark.skipif(
    not IS_INSTALLED and not os.environ.get("CI"), reason="needs Chromium or Chrome, and chromedriver"
)

# JavaScript: widths of the screen and of the page, in pixels.
WIDTHS = "const page = document.documentElement; return [page.clientWidth, page.scrollWidth]"

# JavaScript: the lowest contrast ratio between a text and its background, as WCAG defines it, and that text.
LEAST_CONTRAST = """
const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
const light = (color) => numbers(color).slice(0, 3).map((c) => c / 255)
  .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
  .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
const behind = (element) => {
  const color = getComputedStyle(element).backgroundColor;
  return numbers(color)[3] === 0 ? behind(element.parentElement) : color;
};
return [...document.body.querySelectorAll("*")]
  .filter((element) => element.checkVisibility() && element.tagName !== "SCRIPT")
  .filter((element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
  .map((element) => {
    const both = [light(getComputedStyle(element).color), light(behind(element))];
    const [low, high] = both.sort((a, b) => a - b);
    return [(high + 0.05) / (low + 0.05), element.textContent.trim().slice(0, 40)];
  })
  .sort((a, b) => a[0] - b[0])[0];
"""


@contextlib.contextmanager
def chromium() -> Iterator[Chrome]:
    """Run a browser that logs console messages and requests while the block runs."""
    # Selenium downloads a browser or driver unless both paths are set.
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
    """Set the screen size in pixels (a phone below 600 wide) and the preferred color scheme."""
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

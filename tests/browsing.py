"""What tests ask of a page in a real browser."""

import pytest

from scripts import browser

needs_chromium = pytest.mark.skipif(not browser.IS_HERE, reason="needs Chromium or Chrome, and chromedriver")

# How wide the screen is, and how wide the page.
WIDTHS = "const page = document.documentElement; return [page.clientWidth, page.scrollWidth]"

# How far a text stands out from what is behind it, as WCAG computes it; of the text that does so least.
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

"""Airflow and a browser for the tests of the pages, started once for a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium.webdriver import Chrome

    from tests.plugins.airflow_server import AirflowServer
    from tests.plugins.page import Page


@pytest.fixture(scope="module")
def airflow() -> Iterator[AirflowServer]:
    """Airflow's API server, without any Dag run at the start of the module."""
    from tests.plugins.airflow_server import serve_airflow

    with serve_airflow() as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    """A headless Chromium."""
    from tests.browser import chromium

    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Chrome, airflow: AirflowServer) -> Iterator[Page]:
    """The browser, logged in as a user who may only read; fails if the console has an unexpected message."""
    from tests.plugins.page import Page

    airflow.reset()
    page = Page(browser, airflow)
    yield page
    assert page.unexpected_errors() == []

"""Fixtures: a local dbt Cloud in this process, with the demo account or with a tiny account."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from local_dbt_cloud.testing import trust_ca
from running_cloud import RunningCloud, running_cloud
from tiny_account import write_tiny_account

# Run these first: at the end, the other test processes would wait for them.
SLOWEST_FILES = ("test_runs.py", "test_real_clients.py", "test_cli.py", "test_pages_in_browser.py")


def pytest_configure() -> None:
    """Trust the local dbt Cloud before aiohttp is imported, which reads ``SSL_CERT_FILE`` on import."""
    trust_ca()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slowest files of this folder first."""
    here = Path(__file__).parent
    items.sort(key=lambda item: item.path.parent != here or item.path.name not in SLOWEST_FILES)


@pytest.fixture(scope="session")
def shared_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCloud]:
    """A local dbt Cloud with the demo account, shared because starting one takes longer than most tests."""
    with running_cloud(tmp_path_factory.mktemp("cloud") / "data") as cloud:
        yield cloud


@pytest.fixture
def cloud(shared_cloud: RunningCloud) -> Iterator[RunningCloud]:
    """The local dbt Cloud with the demo account, reset after each test."""
    yield shared_cloud
    shared_cloud.reset()


@pytest.fixture
def tiny_account(tmp_path: Path) -> Path:
    """Account file with a quick job, an endless one, a failing one, and one in another environment."""
    return write_tiny_account(tmp_path)


@pytest.fixture
def tiny_cloud(tmp_path: Path, tiny_account: Path) -> Iterator[RunningCloud]:
    """A local dbt Cloud with the tiny account."""
    with running_cloud(tmp_path / "data", tiny_account) as cloud:
        yield cloud

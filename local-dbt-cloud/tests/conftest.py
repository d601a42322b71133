"""A local dbt Cloud in this process, and an account whose dbt project is as small as can be."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from local_dbt_cloud.testing import trust_ca
from running_cloud import RunningCloud, running_cloud
from tiny_account import write_tiny_account


def pytest_configure() -> None:
    """Trust the local dbt Cloud before aiohttp is imported, which reads the authorities then."""
    trust_ca()


@pytest.fixture(scope="session")
def shared_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCloud]:
    """A local dbt Cloud with the demo account: to start one takes longer than a test."""
    with running_cloud(tmp_path_factory.mktemp("cloud") / "data") as cloud:
        yield cloud


@pytest.fixture
def cloud(shared_cloud: RunningCloud) -> Iterator[RunningCloud]:
    """The local dbt Cloud with the demo account, reset after each test."""
    yield shared_cloud
    shared_cloud.reset()


@pytest.fixture
def tiny_account(tmp_path: Path) -> Path:
    """An account file with a job that is quick, one that never ends, one that fails, one in another place."""
    return write_tiny_account(tmp_path)

"""Pytest fixtures that run a local dbt Cloud. Pytest loads this module if the package is installed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from local_dbt_cloud.testing import LocalDbtCloud


@pytest.fixture(scope="session")
def local_dbt_cloud_account() -> Path | Mapping[str, Any] | None:
    """Account file of the local dbt Cloud, or its contents. Override it; None serves the demo account."""
    return None


@pytest.fixture(scope="session")
def local_dbt_cloud_server(
    tmp_path_factory: pytest.TempPathFactory, local_dbt_cloud_account: Path | Mapping[str, Any] | None
) -> Iterator[LocalDbtCloud]:
    """A local dbt Cloud for the session, on free ports and with a temporary data directory."""
    # Imported here, because every pytest run in this environment loads the plugin.
    from local_dbt_cloud.testing import serve

    with serve(tmp_path_factory.mktemp("local_dbt_cloud") / "data", local_dbt_cloud_account) as cloud:
        yield cloud


@pytest.fixture
def local_dbt_cloud(local_dbt_cloud_server: LocalDbtCloud) -> Iterator[LocalDbtCloud]:
    """The session's local dbt Cloud, reset after each test."""
    yield local_dbt_cloud_server
    local_dbt_cloud_server.reset()

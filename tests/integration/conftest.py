"""A connection to a local dbt Cloud whose runs the tests put there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.connection import connect

if TYPE_CHECKING:
    from tests.running_cloud import RunningCloud


@pytest.fixture
def cloud(shared_cloud: RunningCloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningCloud]:
    connect(monkeypatch, f"localhost:{shared_cloud.api_port}")
    yield shared_cloud
    shared_cloud.reset()


@pytest.fixture
def held(cloud: RunningCloud, monkeypatch: pytest.MonkeyPatch) -> RunningCloud:
    """A dbt Cloud that starts no run of its queue: tests say what becomes of each."""
    monkeypatch.setattr(cloud.service.scheduler, "_dispatch", lambda: None)
    monkeypatch.setattr("include.dbt_cloud.operator.SECONDS_HIDDEN", 0.5)
    return cloud

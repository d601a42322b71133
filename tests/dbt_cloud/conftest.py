"""A connection to a local dbt Cloud whose runs the tests put there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.connection import connect

if TYPE_CHECKING:
    from tests.running_cloud import RunningCloud


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningCloud]:
    # Where there is no local dbt Cloud these tests are skipped, but pytest reads this file all the same.
    from tests.running_cloud import running_cloud

    with running_cloud(tmp_path / "data") as cloud:
        connect(monkeypatch, f"localhost:{cloud.api_port}")
        yield cloud

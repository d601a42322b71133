"""Wait in tests for what another process, thread or task does."""

import asyncio
import time
from collections.abc import Callable
from typing import Any


def wait_until(condition: Callable[[], Any], seconds: float = 10) -> None:
    """Return as soon as a condition holds; fail if it does not within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"the condition did not hold within {seconds:g} seconds"
        time.sleep(0.05)


async def wait_until_async(condition: Callable[[], Any], seconds: float = 20) -> None:
    """Do the same in a coroutine, while the other tasks of the event loop go on."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"the condition did not hold within {seconds:g} seconds"
        await asyncio.sleep(0.01)

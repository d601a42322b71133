"""Wait in tests for a condition that another process, thread or task fulfills."""

import asyncio
import time
from collections.abc import Callable
from typing import Any


def wait_until(condition: Callable[[], Any], seconds: float = 10) -> None:
    """Wait until a condition is true; fail after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"the condition is still false after {seconds:g} seconds"
        time.sleep(0.05)


async def wait_until_async(condition: Callable[[], Any], seconds: float = 20) -> None:
    """Wait in a coroutine until a condition is true; fail after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"the condition is still false after {seconds:g} seconds"
        await asyncio.sleep(0.01)

"""Counts the requests and the TLS handshakes that this process makes."""

import ssl
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import aiohttp
import requests


def count(times: list[float] | None = None) -> Counter[str]:
    """Count from now on, whichever library is used: ``requests``, ``handshakes``.

    :param times: takes the time of each request, in seconds of the monotonic clock.
    """
    counts: Counter[str] = Counter()

    def counted(owner: type, name: str, what: str) -> None:
        original: Callable[..., Any] = getattr(owner, name)

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            counts[what] += 1
            if what == "requests" and times is not None:
                times.append(time.monotonic())
            return original(*args, **kwargs)

        setattr(owner, name, wrapper)

    counted(requests.Session, "send", "requests")
    counted(aiohttp.ClientSession, "_request", "requests")
    counted(ssl.SSLContext, "wrap_socket", "handshakes")
    counted(ssl.SSLContext, "wrap_bio", "handshakes")
    return counts

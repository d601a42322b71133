"""Count the requests and the TLS handshakes of this process."""

import ssl
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import aiohttp
import requests


def count_requests(times: list[float] | None = None) -> Counter[str]:
    """Return a counter of ``requests`` and ``handshakes`` that is updated from now on.

    It covers requests and aiohttp.

    :param times: List to which the time of each request is appended, in seconds of the monotonic clock.
    """
    counts: Counter[str] = Counter()

    def count_calls(owner: type, method: str, key: str) -> None:
        original: Callable[..., Any] = getattr(owner, method)

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            counts[key] += 1
            if key == "requests" and times is not None:
                times.append(time.monotonic())
            return original(*args, **kwargs)

        setattr(owner, method, wrapper)

    count_calls(requests.Session, "send", "requests")
    count_calls(aiohttp.ClientSession, "_request", "requests")
    count_calls(ssl.SSLContext, "wrap_socket", "handshakes")
    count_calls(ssl.SSLContext, "wrap_bio", "handshakes")
    return counts

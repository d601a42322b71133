"""Remember the newest requests to the API, for tests that ask what a client sent."""

from collections import deque
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

MAX_REQUESTS = 20_000


@dataclass(frozen=True)
class LoggedRequest:
    """One request: never its headers, which hold the token."""

    method: str
    path: str
    query: str
    received_at: str


class RequestLog:
    """The newest ``MAX_REQUESTS`` requests, oldest first."""

    def __init__(self) -> None:
        self._requests: deque[LoggedRequest] = deque(maxlen=MAX_REQUESTS)

    def add(self, method: str, path: str, query: str) -> None:
        """Append a request that arrived now."""
        self._requests.append(LoggedRequest(method, path, query, datetime.now(UTC).isoformat()))

    def all(self) -> list[dict[str, Any]]:
        """Return ``method``, ``path``, ``query`` and ``received_at`` of each request."""
        return [asdict(request) for request in self._requests]

    def clear(self) -> None:
        """Forget all requests."""
        self._requests.clear()

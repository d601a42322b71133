"""Record the newest requests to the API, so that tests can assert what a client sent."""

from collections import deque
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

MAX_REQUESTS = 20_000


@dataclass(frozen=True)
class RecordedRequest:
    """A request without its headers, which contain the token."""

    method: str
    path: str
    query: str
    received_at: str


class RequestLog:
    """The newest ``MAX_REQUESTS`` requests, oldest first."""

    def __init__(self) -> None:
        self._requests: deque[RecordedRequest] = deque(maxlen=MAX_REQUESTS)

    def add(self, method: str, path: str, query: str) -> None:
        """Append a request with the current time."""
        self._requests.append(RecordedRequest(method, path, query, datetime.now(UTC).isoformat()))

    def all(self) -> list[dict[str, str]]:
        """Return ``method``, ``path``, ``query`` and ``received_at`` of each request."""
        return [asdict(request) for request in self._requests]

    def clear(self) -> None:
        """Remove all requests."""
        self._requests.clear()

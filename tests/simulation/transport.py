"""Connects the library to the simulated dbt Cloud, in place of requests' and aiohttp's connections."""

import asyncio
import http.client
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import requests
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, ProtocolError

from include.dbt_cloud.hook import DbtCloudHook
from tests.simulation.cloud import Answer, Cloud


def send(cloud: Cloud, request: requests.PreparedRequest, timeout: float, **_: Any) -> requests.Response:
    """Stand in for ``requests.Session.send``."""
    method, url, clock = str(request.method), urlsplit(str(request.url)), cloud.clock
    clock.current.check()
    query = dict(parse_qsl(url.query)) | {"body": str(request.body or "{}")}
    token = request.headers["Authorization"].removeprefix("Token ")
    exchange = cloud.exchange(method, url.path, query, token, timeout)
    try:
        clock.sleep(exchange.before)
    except BaseException:
        # Only the process was interrupted: its request still takes effect.
        clock.at(clock.now + cloud.random.uniform(0, 5), exchange.act)
        raise
    exchange.act()
    clock.sleep(exchange.after)
    for run in exchange.created:
        run.is_known = True
    answer = exchange.answer()
    match answer.failure:
        case "refused":
            raise requests.ConnectTimeout(MaxRetryError(cast("Any", None), "", ConnectTimeoutError()))
        case "reset":
            raise requests.ConnectionError(ProtocolError("aborted", http.client.RemoteDisconnected("")))
        case "timeout":
            raise cloud.random.choice([requests.ReadTimeout(), TimeoutError()])
    if answer.status == 302 and request.method == "GET":
        answer = Answer(200, "<html>Log in</html>")
    response = requests.Response()
    response.status_code, response.reason = answer.status, "Reason"
    response.headers.update(answer.headers)
    response.request, response.url = request, str(request.url)
    response._content, response.encoding = answer.body.encode(), "utf-8"
    return response


class Session:
    """Stands in for ``aiohttp.ClientSession``."""

    def __init__(self, cloud: Cloud, token: str, timeout: float) -> None:
        self.cloud, self.token, self.timeout = cloud, token, timeout

    @asynccontextmanager
    async def get(self, path: str, params: dict[str, Any] | None = None) -> AsyncIterator["Response"]:
        """Send a request."""
        self.cloud.clock.current.check()
        query = {key: str(value) for key, value in (params or {}).items()}
        url = f"/api/v2/accounts/{path}"
        exchange = self.cloud.exchange("GET", url, query, self.token, self.timeout)
        await asyncio.sleep(exchange.before)
        exchange.act()
        await asyncio.sleep(exchange.after)
        answer = exchange.answer()
        match answer.failure:
            case "refused":
                raise aiohttp.ClientOSError(111, "Connect call failed")
            case "reset":
                raise aiohttp.ServerDisconnectedError
            case "timeout":
                raise TimeoutError
        yield Response(Answer(200, "<html>Log in</html>") if answer.status == 302 else answer)

    @classmethod
    def opener(cls, cloud: Cloud) -> Any:
        """Return what stands in for ``DbtCloudHook.async_session``."""

        @asynccontextmanager
        async def async_session(self: DbtCloudHook) -> AsyncIterator[Session]:
            connection = await self.load_connection()
            yield cls(cloud, str(connection.password), self.timeout_seconds)

        return async_session


class Response:
    """Stands in for ``aiohttp.ClientResponse``."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.status, self.headers = answer.status, answer.headers

    def _error(self, kind: type[aiohttp.ClientResponseError]) -> aiohttp.ClientResponseError:
        return kind(None, (), status=self.status, message="Reason")  # type: ignore[arg-type]

    def raise_for_status(self) -> None:
        """Raise for an error status."""
        if self.status >= 400:
            raise self._error(aiohttp.ClientResponseError)

    async def json(self) -> Any:
        """Return the body."""
        if self.answer.body.startswith("<"):
            raise self._error(aiohttp.ContentTypeError)
        return json.loads(self.answer.body)

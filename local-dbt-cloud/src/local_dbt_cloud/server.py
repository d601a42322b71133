"""Serves the API over TLS and the pages over plain HTTP, both on one event loop, until told to stop."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from local_dbt_cloud.api import create_api
from local_dbt_cloud.service import Service
from local_dbt_cloud.web import create_pages


class Server(uvicorn.Server):
    """A server that leaves the signals alone: two of them share a process, which decides when to stop."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


class Protocol(AutoHTTPProtocol):
    """Hands each request its connection, so that a fault can drop it."""

    def connection_made(self, transport: Any) -> None:
        """Put the connection into the scope of the requests that come over it."""
        super().connection_made(transport)
        app = self.app

        async def app_with_transport(scope: Scope, receive: Receive, send: Send) -> None:
            scope["transport"] = transport
            await app(scope, receive, send)

        self.app = app_with_transport


async def serve(
    service: Service, api_socket: socket.socket, pages_socket: socket.socket, stop: asyncio.Event
) -> None:
    """Serve on two listening sockets until ``stop`` is set; then end every run and return."""
    for listener in (api_socket, pages_socket):
        # asyncio sets it only on sockets that say they are TCP, which create_server's do not: without it
        # every small answer waits 40 ms for the client's acknowledgement of its headers.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    quiet = {"log_level": "critical", "lifespan": "off", "server_header": False}
    # A client that keeps its connection open would hold up the end for as long as it likes.
    quiet["timeout_graceful_shutdown"] = 1
    # Longer than clients pause between two rounds of requests, for whom a connection costs a handshake.
    quiet["timeout_keep_alive"] = 75
    certificate = str(service.data.server_certificate)
    servers = [
        Server(uvicorn.Config(create_api(service), http=Protocol, ssl_certfile=certificate, **quiet)),
        Server(uvicorn.Config(create_pages(service), **quiet)),
    ]

    async def stop_when_told() -> None:
        await stop.wait()
        # First the runs: a request that waits for the end of one gets its answer.
        await service.scheduler.stop()
        for server in servers:
            server.should_exit = True

    await asyncio.gather(servers[0].serve([api_socket]), servers[1].serve([pages_socket]), stop_when_told())

"""Serve the API over TLS and the pages over plain HTTP, on one event loop."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from local_dbt_cloud.api import create_api
from local_dbt_cloud.schedule_runner import run_schedules
from local_dbt_cloud.service import Service
from local_dbt_cloud.web import create_pages

# Seconds. A client with an idle connection must not delay the shutdown.
SHUTDOWN_TIMEOUT = 1
# Seconds. Longer than clients pause between two polls, so that they need no new TLS handshake.
KEEP_ALIVE_TIMEOUT = 75


class Server(uvicorn.Server):
    """A server that stops as soon as an event is set. uvicorn alone takes up to 0.2 s, as it polls.

    :param config: Configuration.
    :param stop: Event that stops it.
    """

    def __init__(self, config: uvicorn.Config, stop: asyncio.Event) -> None:
        super().__init__(config)
        self.stop = stop

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no signal handlers: two servers share a process, and the command stops both."""
        yield

    async def main_loop(self) -> None:
        """Wait for the event, and update the ``Date`` header every second."""
        while not self.stop.is_set():
            await self.on_tick(0)
            with suppress(TimeoutError):
                await asyncio.wait_for(self.stop.wait(), 1)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the sockets, and give connected clients time to read their responses."""
        for server in self.servers:
            server.close()
        if self.server_state.connections:
            await super().shutdown(sockets)


class ProtocolWithTransport(AutoHTTPProtocol):  # type: ignore[misc, valid-type] # uvicorn picks the class at import
    """A protocol that puts the transport into the ASGI scope, so that a fault can drop the connection."""

    app: ASGIApp

    def connection_made(self, transport: Any) -> None:
        """Wrap the app of this connection."""
        super().connection_made(transport)
        app = self.app

        async def app_with_transport(scope: Scope, receive: Receive, send: Send) -> None:
            scope["transport"] = transport
            await app(scope, receive, send)

        self.app = app_with_transport


async def serve(
    service: Service, api_socket: socket.socket, pages_socket: socket.socket, stop: asyncio.Event
) -> None:
    """Serve on two listening sockets until ``stop`` is set, then cancel all active runs and return."""
    for listener in (api_socket, pages_socket):
        # asyncio sets this option only on sockets with an explicit protocol number, which create_server()
        # does not set. Without it, each small response waits 40 ms for an acknowledgment.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    certificate = str(service.data.server_certificate)
    runs_stopped = asyncio.Event()
    api_server = _server(
        create_api(service), runs_stopped, http=ProtocolWithTransport, ssl_certfile=certificate
    )
    pages_server = _server(create_pages(service), runs_stopped)

    async def wait_for_stop() -> None:
        await stop.wait()
        # Before the servers, so that a request that waits for the end of a run gets its response.
        await service.scheduler.stop()
        runs_stopped.set()

    schedules = None
    if service.runs_schedules:
        schedules = asyncio.create_task(run_schedules(service.scheduler, service.sessions))
    try:
        await asyncio.gather(
            api_server.serve([api_socket]), pages_server.serve([pages_socket]), wait_for_stop()
        )
    finally:
        if schedules:
            schedules.cancel()


def _server(app: FastAPI, stop: asyncio.Event, **options: Any) -> Server:
    config = uvicorn.Config(
        app,
        log_level="critical",
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT,
        timeout_keep_alive=KEEP_ALIVE_TIMEOUT,
        **options,
    )
    return Server(config, stop)

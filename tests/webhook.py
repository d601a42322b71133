"""A webhook on this machine, as Slack or Teams has one."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@contextmanager
def webhook() -> Iterator[tuple[str, list[Any]]]:
    """Run a webhook while the block runs.

    :return: The connection to it as JSON, and a list that grows with each message: its path and content.
    """
    received: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            received.append((self.path, json.loads(self.rfile.read(length))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.05]).start()
        host = f"http://127.0.0.1:{server.server_port}/services/T/B/X"
        yield json.dumps({"conn_type": "http", "host": host}), received
        server.shutdown()

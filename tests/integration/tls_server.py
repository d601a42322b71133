"""A server over TLS that gives every request the same answer."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@contextmanager
def answering(body: bytes, certificate: Path, seconds_per_byte: float = 0) -> Iterator[int]:
    """Answer every request with 200 and this body; yields the port.

    :param seconds_per_byte: Trickles the body.
    """
    stopped = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if not seconds_per_byte:
                self.wfile.write(body)
                return
            for byte in body:
                if stopped.wait(seconds_per_byte):
                    return
                self.wfile.write(bytes([byte]))

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=[0.05]).start()
    try:
        yield server.server_port
    finally:
        stopped.set()
        server.shutdown()
        server.server_close()

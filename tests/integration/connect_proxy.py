"""An HTTP proxy that tunnels TLS connections, as in company networks."""

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Tunnel(BaseHTTPRequestHandler):
    def do_CONNECT(self) -> None:
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host, int(port))) as upstream:
            self.send_response(200)
            self.end_headers()
            self.wfile.flush()
            with contextlib.suppress(OSError):
                self._relay(upstream)
        self.close_connection = True

    def _relay(self, upstream: socket.socket) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self.connection, selectors.EVENT_READ, (self.connection, upstream))
            selector.register(upstream, selectors.EVENT_READ, (upstream, self.connection))
            while True:
                for key, _ in selector.select():
                    source, target = key.data
                    data = source.recv(65536)
                    if not data:
                        return
                    target.sendall(data)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def connect_proxy() -> Iterator[str]:
    """Run the proxy while the block runs; yield its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Tunnel) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=[0.05])
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()

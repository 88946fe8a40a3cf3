"""What stands before a tracking server, which is away: a proxy that answers everything alike."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Asked(BaseHTTPRequestHandler):
    server: _Gateway

    def do_GET(self) -> None:
        content = b"404 page not found\n"
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(self.server.health if self.path == "/health" else self.server.status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_PUT = do_GET

    def log_message(self, format: str, *words: object) -> None:
        pass


class _Gateway(ThreadingHTTPServer):
    status = health = 200


@contextmanager
def gateway(status: int = 200, health: int = 200, port: int = 0) -> Iterator[str]:
    """Its address; `status` is the answer to all but /health, whose is `health`."""
    server = _Gateway(("127.0.0.1", port), _Asked)
    server.status, server.health = status, health
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

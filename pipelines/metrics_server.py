"""``millrace metrics --serve``: a lake's metrics over HTTP, read anew when they are asked for."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pipelines.exposition import CONTENT_TYPE
from pipelines.metrics import exposed
from schemas.errors import MillraceError, UsageError

KEPT_S = 10.0  # that an answer is given again: many who ask at once cost one reading
_PATH = "/metrics"


class Answers:
    """The metrics of a lake, read by one at a time and kept for a moment."""

    def __init__(self, lake: Path, kept_s: float = KEPT_S) -> None:
        self._lake, self._kept_s, self._lock = lake, kept_s, threading.Lock()
        self._last: tuple[float, bytes] | None = None

    def get(self) -> bytes:
        """What the lake says now, or said a moment ago. Raises MillraceError or OSError."""
        with self._lock:
            if self._last is None or time.monotonic() - self._last[0] > self._kept_s:
                self._last = time.monotonic(), exposed(self._lake).encode()
            return self._last[1]


def server_of(lake: Path, host: str, port: int, kept_s: float = KEPT_S) -> ThreadingHTTPServer:
    """A server that is bound, and not at work yet; port 0: any that is free. Raises UsageError."""
    answers = Answers(lake, kept_s)

    class Handler(BaseHTTPRequestHandler):
        timeout = 30  # seconds for a client that says nothing

        def do_GET(self) -> None:
            if self.path.partition("?")[0] != _PATH:
                self._say(404, f"only {_PATH} is here\n".encode())
                return
            try:
                told = answers.get()
            except (MillraceError, OSError) as error:  # a lake that is not there yet: asked again
                self._say(500, f"{error}\n".encode())
            else:
                self._say(200, told, CONTENT_TYPE)

        def _say(self, code: int, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing: it is asked four times a minute."""

    try:
        return ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise UsageError(
            "metrics cannot be served there", got=f"{host}:{port}: {error.strerror}",
            next="name another --serve PORT, or another --host",
        ) from error  # fmt: skip

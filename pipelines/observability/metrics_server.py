"""``millrace metrics --serve``: a lake's metrics over HTTP, read from its tables at a request."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app
from prometheus_client.registry import Collector

from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.observability.metric_families import MetricFamily
from millrace.pipelines.observability.metrics import LakeCollector, registry
from millrace.schemas.errors import MillraceError, UsageError

CACHE_S = 10.0  # so that many clients at once cost one read of the tables
_PATH = "/metrics"
_Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class CachedCollector(Collector):
    """Collects from another collector, one client at a time, and caches the families for a moment."""

    def __init__(self, source: LakeCollector, cache_s: float = CACHE_S) -> None:
        self._source, self._cache_s, self._lock = source, cache_s, threading.Lock()
        self._cached: tuple[float, list[MetricFamily]] | None = None

    def collect(self) -> list[MetricFamily]:
        """Return the families, at most ``cache_s`` seconds old. Raises MillraceError or OSError."""
        with self._lock:
            if self._cached is None or time.monotonic() - self._cached[0] > self._cache_s:
                self._cached = time.monotonic(), list(self._source.collect())
            return self._cached[1]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _QuietHandler(WSGIRequestHandler):
    timeout = 30  # seconds until a silent client is disconnected

    def log_message(self, *_: object) -> None:
        """Log nothing: Prometheus sends four requests a minute."""


def create_server(lake: LakeLocation, host: str, port: int, cache_s: float = CACHE_S) -> WSGIServer:
    """Return a server that is bound and does not answer yet; port 0 takes any free port.

    Raises:
        UsageError: The address cannot be bound.
    """
    collector = CachedCollector(LakeCollector(lake), cache_s)
    app = _with_errors(make_wsgi_app(registry(collector)))
    try:
        return make_server(host, port, app, _Server, _QuietHandler)
    except OSError as error:
        raise UsageError(
            "metrics cannot be served at this address",
            got=f"{host}:{port}: {error.strerror}",
            next="choose another --serve PORT, or another --host",
        ) from error


def _with_errors(app: _Wsgi) -> _Wsgi:
    """Answer 404 outside of /metrics, and 500 with the reason while the lake cannot be read."""

    def respond(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] != _PATH:
            return _text(start_response, "404 Not Found", f"only {_PATH} is served")
        try:
            return app(environ, start_response)
        except (MillraceError, OSError) as error:  # for example a lake that no run has written to
            return _text(start_response, "500 Internal Server Error", str(error))

    return respond


def _text(start_response: Callable[..., Any], status: str, text: str) -> list[bytes]:
    start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{text}\n".encode()]

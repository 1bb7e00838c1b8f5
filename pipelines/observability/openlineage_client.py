"""Delivery of events to a URL or a file in a background thread; it can neither fail nor delay a run."""

from __future__ import annotations

import base64
import json
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit


class Receiver:
    """Delivers events in order in a background thread; `close` reports the first failure."""

    def __init__(self, place: str, timeout_s: float, token: str | None = None) -> None:
        self.shown = shown(place)
        self._place, self._timeout_s, self._token = place, timeout_s, token
        self._events: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        self._why: str | None = None
        self._thread = threading.Thread(target=self._work, name="openlineage", daemon=True)
        self._thread.start()

    def send(self, event: dict[str, Any]) -> None:
        """Queue an event and return at once."""
        self._events.put(event)

    def close(self) -> str | None:
        """Wait for pending events, at most the timeout; return why one was not delivered, or None."""
        self._events.put(None)
        self._thread.join(self._timeout_s)
        if self._thread.is_alive():
            return f"no answer within {self._timeout_s:g} s"
        return self._why

    def _work(self) -> None:
        deliver = _posted if "://" in self._place else _written
        while (event := self._events.get()) is not None:
            try:
                deliver(self._place, json.dumps(event), self._timeout_s, self._token)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is no reason to fail a run
                self._why = self._why or _reason(error)


def shown(place: str) -> str:
    """Return a receiver as messages show it: of a URL the server alone, since the rest may be secret."""
    if "://" not in place:
        return place
    found = urlsplit(place)
    return f"{found.scheme}://{found.netloc.rpartition('@')[2]}"


def _written(path: str, text: str, _timeout_s: float, _token: str | None) -> None:
    """Append a line to the file, in one write."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with Path(path).open("ab", buffering=0) as file:
        file.write(text.encode() + b"\n")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuses redirects: neither the event nor the password is meant for another server."""

    def redirect_request(self, *_: Any) -> None:
        """None: the answer is an error."""


def _posted(url: str, text: str, timeout_s: float, token: str | None) -> None:
    found, headers = urlsplit(url), {"Content-Type": "application/json"}
    known, _, server = found.netloc.rpartition("@")
    if token:
        headers["Authorization"] = f"Bearer {token}"
    elif known:
        headers["Authorization"] = f"Basic {base64.b64encode(unquote(known).encode()).decode()}"
    plain = urlunsplit(found._replace(netloc=server))
    request = urllib.request.Request(plain, text.encode(), headers, method="POST")  # noqa: S310 - schemas/observe.py
    began = time.monotonic()
    with urllib.request.build_opener(_NoRedirect()).open(request, timeout=timeout_s) as answer:
        while time.monotonic() - began < timeout_s and answer.read1(65536):
            pass  # to its end: a connection that is cut off is an error for some receivers


def _reason(error: Exception) -> str:
    """The error without what it quotes of the URL."""
    if isinstance(error, urllib.error.HTTPError):
        return f"answer {error.code}"
    reason = getattr(error, "reason", error)
    if isinstance(reason, OSError):
        return reason.strerror or type(reason).__name__
    return type(error).__name__

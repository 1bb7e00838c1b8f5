"""Calls that never return: the process ends itself, with every thread's traceback on its standard error."""

from __future__ import annotations

import faulthandler
import time
from collections.abc import Iterator
from contextlib import contextmanager

EXIT_CODE = 1  # faulthandler's
TOLD = "Timeout ("  # how its dump begins
_STDERR = 2
SLACK = (
    1 / 8
)  # of the time allowed: setting the alarm starts a thread, which many short calls would feel


class Watchdog:
    """Allows a call ``timeout_s`` seconds, and up to an eighth more; None: all it likes.

    The alarm is a thread of C: a call that never lets go of Python's lock ends too.
    """

    def __init__(self, timeout_s: float | None) -> None:
        self._timeout_s = timeout_s
        self._set_at: float | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Calls are made inside; what happens outside may take its time."""
        try:
            yield
        finally:
            if self._set_at is not None:
                faulthandler.cancel_dump_traceback_later()
                self._set_at = None

    def call(self) -> None:
        """A call begins; the one before has ended."""
        if self._timeout_s is None:
            return
        now = time.monotonic()
        if self._set_at is None or now - self._set_at > SLACK * self._timeout_s:
            allowed_s = (1 + SLACK) * self._timeout_s
            faulthandler.dump_traceback_later(allowed_s, exit=True, file=_STDERR)
            self._set_at = now

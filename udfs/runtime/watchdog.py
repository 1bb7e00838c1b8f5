"""Ends the process, with a traceback of every thread on standard error, if a call never returns."""

from __future__ import annotations

import faulthandler
import time
from collections.abc import Iterator
from contextlib import contextmanager

EXIT_CODE = 1  # faulthandler's
DUMP_PREFIX = "Timeout ("  # how its dump begins
_STDERR = 2
SLACK = (
    1 / 8
)  # of the time allowed: setting the alarm starts a thread, which many short calls would feel


class Watchdog:
    """Allows a call ``timeout_s`` seconds, and up to an eighth more; None: no limit.

    The alarm is a thread of C, so that it also ends a call that never releases Python's lock.
    """

    def __init__(self, timeout_s: float | None) -> None:
        self._timeout_s = timeout_s
        self._set_at: float | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Make calls inside; time outside is not limited."""
        try:
            yield
        finally:
            if self._set_at is not None:
                faulthandler.cancel_dump_traceback_later()
                self._set_at = None

    def call(self) -> None:
        """Start the alarm for a call; the one before has ended."""
        if self._timeout_s is None:
            return
        now = time.monotonic()
        if self._set_at is None or now - self._set_at > SLACK * self._timeout_s:
            allowed_s = (1 + SLACK) * self._timeout_s
            faulthandler.dump_traceback_later(allowed_s, exit=True, file=_STDERR)
            self._set_at = now

"""SIGTERM ends a command as Ctrl-C does: at a safe point, with everything closed behind it."""

from __future__ import annotations

import signal
from types import FrameType


def stop_at_sigterm() -> None:
    """From now on SIGTERM raises KeyboardInterrupt in the main thread."""
    signal.signal(signal.SIGTERM, _stop)


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt

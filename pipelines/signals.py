"""SIGTERM ends a command as Ctrl-C does: at a safe point, with everything closed behind it."""

from __future__ import annotations

import signal
from types import FrameType


def stop_at_signals() -> None:
    """From now on SIGTERM and SIGINT raise KeyboardInterrupt in the main thread.

    SIGINT too where a shell had it ignored, as it does for what a script starts in the background.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt

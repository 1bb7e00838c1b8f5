"""Ctrl-C and SIGTERM end a command in one way: at a safe point, with everything closed behind it."""

from __future__ import annotations

import signal
from types import FrameType

from millrace.schemas.errors import Interrupted, MillraceError, RunFailed

_NEXT = "run the same command again: it resumes after the last commit"


class Terminated(KeyboardInterrupt):
    """SIGTERM, which a scheduler sends: a run that it ends is to be tried again."""


def stop_at_signals() -> None:
    """From now on SIGTERM and SIGINT raise KeyboardInterrupt in the main thread.

    SIGINT too where a shell had it ignored, as it does for what a script starts in the background.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)


def stopped(error: BaseException) -> MillraceError:
    """What a command says that a signal ended: what is committed, and how to go on.

    SIGTERM keeps the exit code of a failure, 5, which schedulers' rules take for "try again".
    """
    kind, by = (RunFailed, "SIGTERM") if isinstance(error, Terminated) else (Interrupted, "Ctrl-C")
    committed = "; ".join(getattr(error, "__notes__", ())) or None
    return kind(f"stopped by {by} at a safe point", got=committed, next=_NEXT)


def _stop(number: int, _frame: FrameType | None) -> None:
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt

"""This worker process: whether it was started for the task that it serves now."""

from __future__ import annotations

import sys
import time

import psutil


def fresh_since(moment: float) -> float | None:
    """When this process was started, if that was after ``moment`` and this is the first work it does.

    ``moment`` is in seconds since 1970. A worker that Spark started for this stage owes its start to
    the first task that it serves there; a worker that is used again owes nothing.
    """
    born = psutil.Process().create_time()
    if sys.platform == "linux":  # psutil adds a boot time of whole seconds: too coarse for a task
        born += time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) - psutil.boot_time()
    is_first = not _worked
    mark_used()
    return born if is_first and born >= moment else None


def mark_used() -> None:
    """This process has begun to work: it is no longer fresh for whoever meters next."""
    if not _worked:
        _worked.append(True)


_worked: list[bool] = []

"""The age of this worker process: whether Spark started it for the current task."""

from __future__ import annotations

import sys
import time

import psutil

SERVERS = frozenset(
    {"pyspark.daemon", "millrace.udfs.worker.daemon"}
)  # modules that fork Spark's workers


def fresh_since(moment: float) -> float | None:
    """Return when this worker's start began, if that was after ``moment`` and this is its first task.

    ``moment`` is in seconds since 1970. The start of a worker counts for the first task that it serves,
    and so does the start of the server that forks Spark's workers, if that was after ``moment``, too: the
    task waited for both. A reused worker returns None.
    """
    is_first = not _worked
    mark_used()
    started = [at for at in _births() if at >= moment]
    return min(started) if is_first and started else None


def mark_used() -> None:
    """Record that this process has begun to work."""
    if not _worked:
        _worked.append(True)


_worked: list[bool] = []


def _births() -> list[float]:
    """When this process was started, and its parent if that is Spark's forking server."""
    own = psutil.Process()
    parent = own.parent()
    forked = parent is not None and not SERVERS.isdisjoint(parent.cmdline())
    return [_born(own), _born(parent)] if forked and parent else [_born(own)]


def _born(process: psutil.Process) -> float:
    born: float = process.create_time()
    if sys.platform == "linux":  # psutil adds a boot time of whole seconds: too coarse for a task
        born += time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) - psutil.boot_time()
    return born

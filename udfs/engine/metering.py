"""Seconds, rows, bytes and tokens of a worker, so that every second of a task has a name."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from udfs.energy import Card, Processors, nvml_of, zones

# Columns of METER.
LAPS = ("startup_s", "load_s", "wait_s", "decode_s", "compute_s", "convert_s", "emit_s")
_RSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024  # getrusage's unit


@dataclass(frozen=True)
class Place:
    """Which attempt of which task is metered."""

    application: str = ""
    stage_id: int = -1
    partition: int = 0
    attempt_number: int = 0
    task_id: int = -1
    executor: str = ""


class Meter:
    """A running clock over one task; `take` gives what passed since the last `take`.

    Every moment is inside the clock: what no lap claims shows as wall_s beyond the laps' sum.
    """

    def __init__(
        self,
        place: Place,
        *,
        since: float | None = None,
        fresh: bool = False,  # the whole process's CPU time so far belongs to this task
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._place, self._clock = place, clock
        self._began = clock() if since is None else since
        self._cpu_s = 0.0 if fresh else _cpu_s()
        self._laps = dict.fromkeys(LAPS, 0.0)
        self._laps["startup_s"] = clock() - self._began
        self._processors, self._card = Processors(zones()), Card(None)

    def watch(self, device: str) -> None:
        """From now on the device's energy counts too, where it has a counter."""
        self._card = Card(nvml_of(device))

    @contextmanager
    def lap(self, name: str) -> Iterator[None]:
        """Add the time spent inside to lap ``name``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._laps[name] += time.perf_counter() - start

    def take(self, *, size_bytes: int, **facts: Any) -> dict[str, Any]:
        """The meter row of the batch that ends now; the next one begins.

        ``facts`` are the columns of METER that say what was computed, and on what.
        """
        now, cpu_s = self._clock(), _cpu_s()
        used_s = cpu_s - self._cpu_s
        row = {
            **vars(self._place),
            "pid": os.getpid(),
            "started_at": datetime.fromtimestamp(self._began, UTC),
            **facts,
            "bytes": size_bytes,
            "wall_s": now - self._began,
            "cpu_s": used_s,
            **self._laps,
            "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT_BYTES,
            "cpu_joules": self._processors.taken(used_s),
            "gpu_joules": self._card.taken(),
        }
        self._began, self._cpu_s, self._laps = now, cpu_s, dict.fromkeys(LAPS, 0.0)
        return row


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime

"""Meters a worker: seconds by kind, rows, bytes, tokens and energy."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from millrace.udfs.engine.energy_counters import CpuEnergy, GpuEnergy, nvml_of, zones

# Columns of METER.
LAPS = ("startup_s", "load_s", "wait_s", "decode_s", "compute_s", "convert_s", "emit_s")
_ADDED = (
    "rows", "failed", "model_batches", "tokens", "tokens_computed", "tokens_out", "bytes", "wall_s", "cpu_s",
    *LAPS, "cpu_joules", "gpu_joules", "gpu_busy_s",
)  # fmt: skip
_LARGEST = ("peak_rss_bytes", "gpu_memory_bytes")
_RSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024  # getrusage's unit


@dataclass(frozen=True)
class TaskAttempt:
    """The task attempt that is metered."""

    application: str = ""
    stage_id: int = -1
    partition: int = 0
    attempt_number: int = 0
    task_id: int = -1
    executor: str = ""


class Meter:
    """A clock over one task; `take` returns what passed since the last `take`.

    The clock has no gaps: time outside of every lap shows as wall_s beyond the laps' sum.
    """

    def __init__(
        self,
        place: TaskAttempt,
        *,
        since: float | None = None,
        called: float | None = None,  # by Spark; what was imported since then is part of loading
        fresh: bool = False,  # the whole process's CPU time so far belongs to this task
        clock: Callable[[], float] = time.time,
        laps: Callable[[], float] = time.perf_counter,  # of a lap, begin and end
        cpu: Callable[[], float] | None = None,  # CPU seconds so far; None: of the whole process
    ) -> None:
        self._place, self._clock, self._lap_clock = place, clock, laps
        self._cpu = cpu or _cpu_s
        self.computed: Callable[[int], None] = lambda _: None  # called with the rows of each call
        self._began = clock() if since is None else since
        now = clock()
        self._cpu_s = 0.0 if fresh else self._cpu()
        self._laps = dict.fromkeys(LAPS, 0.0)
        self._laps["startup_s"] = (now if called is None else called) - self._began
        self._laps["load_s"] = 0.0 if called is None else now - called
        self._processors, self._card = CpuEnergy(zones()), GpuEnergy(None)

    def watch(self, device: str) -> None:
        """Meter the device's energy, too, if it has a counter."""
        self._card = GpuEnergy(nvml_of(device))

    @contextmanager
    def lap(self, name: str) -> Iterator[None]:
        """Add the time inside to lap ``name``."""
        start = self._lap_clock()
        try:
            yield
        finally:
            self._laps[name] += self._lap_clock() - start

    def take(self, *, size_bytes: int, **facts: Any) -> dict[str, Any]:
        """Return the meter row of the batch that ends now; the next batch begins.

        ``facts`` are the columns of METER that describe the computation.
        """
        now, cpu_s = self._clock(), self._cpu()
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
            "cpu_joules": self._processors.joules_since_last(used_s),
            "gpu_joules": self._card.joules_since_last(),
        }
        self._began, self._cpu_s, self._laps = now, cpu_s, dict.fromkeys(LAPS, 0.0)
        return row


def joined(reading: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two successive readings of a meter: sums, maxima, and the first one's other values."""
    whole = dict(reading)
    for names, of in ((_ADDED, sum), (_LARGEST, max)):
        for name in names:
            known = [one[name] for one in (reading, more) if one[name] is not None]
            whole[name] = of(known) if known else None
    return whole


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime

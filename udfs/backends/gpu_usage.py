"""Time and memory that this process's calls used on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from millrace.udfs.runtime.plan import Runtime

if TYPE_CHECKING:
    import torch

_TIMED = ("torch", "torch_compile")  # what computes on torch's streams, in this process


@dataclass(frozen=True)
class GpuUse:
    """Time and memory of calls on a GPU."""

    busy_s: float  # from the first kernel of a call to the end of its last, by the device's clock
    memory_bytes: int  # largest that the process has reserved on the device so far

    def shares(self, rows: Sequence[int]) -> list[GpuUse]:
        """Split a joined call by rows: each request gets its share of the time, and all of the memory."""
        total = sum(rows)
        return [GpuUse(self.busy_s * one / total, self.memory_bytes) for one in rows]


def together(uses: Sequence[GpuUse]) -> GpuUse | None:
    """Add up the uses of several calls; None if there are none."""
    if not uses:
        return None
    return GpuUse(sum(one.busy_s for one in uses), max(one.memory_bytes for one in uses))


class Event(Protocol):
    """An event on a device's clock, as torch has it."""

    def record(self) -> None:
        """Record when all work submitted so far is done."""
        ...

    def synchronize(self) -> None:
        """Wait for the event."""
        ...

    def elapsed_time(self, later: Any) -> float:
        """Return the milliseconds to a later event."""
        ...


class Gauge:
    """Times calls by events before and after them; `usage_since_last` sums the calls since its last call."""

    def __init__(self, event: Callable[[], Event], memory_bytes: Callable[[], int]) -> None:
        self._event, self._memory_bytes = event, memory_bytes
        self._busy_s, self._calls = 0.0, 0

    @contextmanager
    def call(self) -> Iterator[None]:
        """Time the calls inside; a call that raises is not counted, since the device may not answer."""
        begin, end = self._event(), self._event()
        begin.record()
        yield
        end.record()
        end.synchronize()
        self._busy_s += begin.elapsed_time(end) / 1000
        self._calls += 1

    def usage_since_last(self) -> GpuUse | None:
        """Return the use since the last call of this method; None if there was none."""
        busy_s, calls, self._busy_s, self._calls = self._busy_s, self._calls, 0.0, 0
        return GpuUse(busy_s, self._memory_bytes()) if calls else None


def gauge_of(runtime: Runtime) -> Gauge | None:
    """Return the gauge of a model in this process; None if torch does not compute it on a GPU."""
    if not runtime.device.startswith("cuda") or runtime.backend not in _TIMED:
        return None
    import torch

    device = torch.device(runtime.device)
    return Gauge(lambda: _Moment(device), lambda: int(torch.cuda.max_memory_reserved(device)))


class _Moment:
    """On the stream on which a device computes, which need not be the current device's."""

    def __init__(self, device: torch.device) -> None:
        import torch

        self.event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        self._stream = torch.cuda.current_stream(device)

    def record(self) -> None:
        self.event.record(self._stream)

    def synchronize(self) -> None:
        self.event.synchronize()

    def elapsed_time(self, later: _Moment) -> float:
        return float(self.event.elapsed_time(later.event))

"""How long a GPU computed for this process's calls, and the memory that it held there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from udfs.plan import Runtime

if TYPE_CHECKING:
    import torch

_TIMED = ("torch", "torch_compile")  # what computes on torch's streams, in this process


@dataclass(frozen=True)
class GpuUse:
    """What calls of a model took of a GPU."""

    busy_s: float  # from the first kernel of a call to the end of its last, by the device's clock
    memory_bytes: int  # largest that the process has reserved on the device so far

    def shares(self, rows: Sequence[int]) -> list[GpuUse]:
        """The call as its questions' own: time in proportion to their rows; memory is all of theirs."""
        total = sum(rows)
        return [GpuUse(self.busy_s * one / total, self.memory_bytes) for one in rows]


def together(uses: Sequence[GpuUse]) -> GpuUse | None:
    """Several calls as one; None where there was none."""
    if not uses:
        return None
    return GpuUse(sum(one.busy_s for one in uses), max(one.memory_bytes for one in uses))


class Event(Protocol):
    """A moment on a device's clock, as torch has it."""

    def record(self) -> None:
        """The moment at which all that was asked for so far is done."""
        ...

    def synchronize(self) -> None:
        """Wait for that moment."""
        ...

    def elapsed_time(self, later: Any) -> float:
        """Milliseconds from this moment to another."""
        ...


class Gauge:
    """Times calls by events before and after them; `taken` gives what came together since the last one."""

    def __init__(self, event: Callable[[], Event], memory_bytes: Callable[[], int]) -> None:
        self._event, self._memory_bytes = event, memory_bytes
        self._busy_s, self._calls = 0.0, 0

    @contextmanager
    def call(self) -> Iterator[None]:
        """Time what is computed inside; not a call that raises: the device may not answer any more."""
        begin, end = self._event(), self._event()
        begin.record()
        yield
        end.record()
        end.synchronize()
        self._busy_s += begin.elapsed_time(end) / 1000
        self._calls += 1

    def taken(self) -> GpuUse | None:
        """The calls since the last time; None where there were none."""
        busy_s, calls, self._busy_s, self._calls = self._busy_s, self._calls, 0.0, 0
        return GpuUse(busy_s, self._memory_bytes()) if calls else None


def gauge_of(runtime: Runtime) -> Gauge | None:
    """What times a model of this process; None where no GPU computes, or none that torch's clock sees."""
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

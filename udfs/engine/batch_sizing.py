"""The size of model batches: fixed, or found by measuring.

The *cost* of a batch is its longest sequence times its rows if it is padded, and its rows if all shapes are
equal. One call takes about ``a + b * cost`` seconds. Small batches therefore pay ``a`` too often, and large
ones leave the processor's cache, and then memory. The best size is the smallest that nearly has the best
rate.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol

NEARLY = 0.97  # of the best rate: what a smaller batch may cost
START = 256  # tokens or rows: small enough for any model that fits into memory at all
CEILING = 1 << 16  # of a cost: what is larger gains nothing, and holds results back
GROWTH = 2  # no size is tried that is more than twice one that was measured
_SAMPLES = 3  # calls of a size before its time counts
_FULL = 0.75  # of a size: smaller batches, the last ones of a window, say little about it


class Sizer(Protocol):
    """Decides how many rows of a width a batch has, from the time of earlier calls."""

    def rows_of(self, width: int) -> int:
        """Return the rows of the next batch, at least 1; ``width`` is its longest sequence, or 1."""
        ...

    def took(self, cost: int, seconds: float) -> None:
        """Record the seconds of a call with this cost."""
        ...

    def failed(self, cost: int) -> None:
        """Record that a call with this cost ran out of memory."""
        ...


@dataclass
class FixedSizer:
    """A fixed number of rows of any width; fewer only if memory was too small for them."""

    rows: int
    ceiling: int | None = None

    def rows_of(self, width: int) -> int:
        """Return the fixed rows, or as many as the ceiling allows."""
        return (
            self.rows
            if self.ceiling is None
            else _rows(min(self.rows * width, self.ceiling), width)
        )

    def took(self, cost: int, seconds: float) -> None:
        """Do nothing."""

    def failed(self, cost: int) -> None:
        """Set the ceiling to half of the least cost that failed."""
        least = max(1, cost // 2)
        self.ceiling = least if self.ceiling is None else min(self.ceiling, least)


class MeasuredSizer:
    """Finds the smallest cost with nearly the best rate while the task scores."""

    def __init__(self, start: int, *, ceiling: int, settled: bool = False) -> None:
        self.size = min(start, ceiling)
        self._ceiling = ceiling
        self._settled = settled
        self._times: dict[int, list[tuple[int, float]]] = {}
        self._is_warm = False

    def rows_of(self, width: int) -> int:
        """Return as many rows as the size allows, at least 1."""
        return _rows(self.size, width)

    def took(self, cost: int, seconds: float) -> None:
        """Record a call, except the first: that one allocates and compiles."""
        if self._settled or not _FULL * self.size <= cost <= self.size:
            return
        if not self._is_warm:
            self._is_warm = True
            return
        seen = self._times.setdefault(self.size, [])
        seen.append((cost, seconds))
        if len(seen) >= _SAMPLES:
            self.size, self._settled = next_size(self._medians(), self._ceiling)

    def failed(self, cost: int) -> None:
        """Set the ceiling to half of the least cost that failed."""
        self._ceiling = min(self._ceiling, max(1, cost // 2))
        self.size = min(self.size, self._ceiling)
        self._times = {size: seen for size, seen in self._times.items() if size <= self._ceiling}

    def _medians(self) -> dict[int, float]:
        """Seconds a full batch of each measured size."""
        return {
            size: median(seconds * size / cost for cost, seconds in seen)
            for size, seen in self._times.items()
        }


class Ceilings:
    """The least cost that ran out of memory, by model and device, in this process.

    A worker serves many tasks: later ones start below what an earlier one could not compute.
    """

    def __init__(self) -> None:
        self._least: dict[Hashable, int] = {}

    def failed(self, model: Hashable, cost: int) -> None:
        """Record that a call of the model with this cost ran out of memory."""
        self._least[model] = min(cost, self._least.get(model, cost))

    def least(self, model: Hashable) -> int | None:
        """Return the least cost that failed; None if none did."""
        return self._least.get(model)


CEILINGS = Ceilings()  # this process's


def sizer_for(rows: int | None, cost: int | None, *, failed: int | None = None) -> Sizer:
    """Return the sizer of a fixed number of rows, of a known good cost, or one that searches.

    It starts below ``failed``, a cost that is known to run out of memory.
    """
    sizer = _sizer_for(rows, cost)
    if failed is not None:
        sizer.failed(failed)
    return sizer


def _sizer_for(rows: int | None, cost: int | None) -> Sizer:
    if rows is not None:
        return FixedSizer(rows)
    if cost is not None:
        return MeasuredSizer(cost, ceiling=cost, settled=True)
    return MeasuredSizer(START, ceiling=CEILING)


def next_size(seconds: Mapping[int, float], ceiling: int) -> tuple[int, bool]:
    """Return the size to compute with next, and whether the search ends with it.

    ``seconds`` has the time of a full batch by measured size. The search doubles the largest size while that
    is the fastest, and the fitted line predicts a better rate.
    """
    sizes = sorted(seconds)
    rates = {size: size / seconds[size] for size in sizes}
    largest, best = sizes[-1], max(rates.values())
    smallest_good = min(size for size in sizes if rates[size] >= NEARLY * best)
    may_grow = largest * GROWTH <= ceiling and rates[largest] >= best
    if may_grow and promised(seconds, largest * GROWTH) * NEARLY > rates[largest]:
        return largest * GROWTH, False
    return smallest_good, True


def promised(seconds: Mapping[int, float], size: int) -> float:
    """Return the rate at ``size`` by the line through the measurements; infinite with one measurement."""
    if len(seconds) == 1:
        return float("inf")
    intercept, slope = line(sorted(seconds.items()))
    return size / max(intercept + slope * size, 1e-12)


def line(points: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """Return intercept and slope of a robust line: the median of all pairs' slopes (Theil-Sen)."""
    slopes = [
        (y2 - y1) / (x2 - x1) for i, (x1, y1) in enumerate(points) for x2, y2 in points[i + 1 :]
    ]
    slope = max(median(slopes), 0.0)
    return max(median(y - slope * x for x, y in points), 0.0), slope


def _rows(size: int, width: int) -> int:
    return max(1, size // max(width, 1))

"""How much a model computes at a time: pinned, or found by measuring.

A batch's *cost* is its longest sequence times its rows where it is padded, and its rows where all
shapes are equal. One call takes about ``a + b * cost`` seconds, so small batches pay ``a`` too often;
but large ones leave the cache, and then memory. The size wanted is the smallest that gives nearly the
best rate.
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
    """Says how many rows of a width go into a batch, and learns from what that took."""

    def rows_of(self, width: int) -> int:
        """Rows of the next batch, at least one; ``width`` is its longest sequence, else 1."""
        ...

    def took(self, cost: int, seconds: float) -> None:
        """A call with this cost took so long."""
        ...

    def failed(self, cost: int) -> None:
        """A call with this cost ran out of memory."""
        ...


@dataclass
class Pinned:
    """A number of rows, whatever their width; less only where memory did not hold them."""

    rows: int
    ceiling: int | None = None

    def rows_of(self, width: int) -> int:
        """The pinned rows, or as many as the ceiling's cost allows."""
        return (
            self.rows
            if self.ceiling is None
            else _rows(min(self.rows * width, self.ceiling), width)
        )

    def took(self, cost: int, seconds: float) -> None:
        """Nothing is learned."""

    def failed(self, cost: int) -> None:
        """Half of the least that did not fit is the ceiling from now on."""
        least = max(1, cost // 2)
        self.ceiling = least if self.ceiling is None else min(self.ceiling, least)


class Measured:
    """The smallest cost a batch that gives nearly the best rate, found while scoring."""

    def __init__(self, start: int, *, ceiling: int, settled: bool = False) -> None:
        self.size = min(start, ceiling)
        self._ceiling = ceiling
        self._settled = settled
        self._times: dict[int, list[tuple[int, float]]] = {}
        self._is_warm = False

    def rows_of(self, width: int) -> int:
        """As many rows as the size allows, at least one: a single long input is never refused here."""
        return _rows(self.size, width)

    def took(self, cost: int, seconds: float) -> None:
        """Count the call, unless it is the first: that one allocates and compiles."""
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
        """Half of the least that did not fit is the ceiling from now on."""
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
    """The least cost that ran out of memory, for each model and device that this process has used.

    A worker serves many tasks: what one of them found out, the next need not find out again.
    """

    def __init__(self) -> None:
        self._least: dict[Hashable, int] = {}

    def failed(self, model: Hashable, cost: int) -> None:
        """A call of the model with this cost ran out of memory."""
        self._least[model] = min(cost, self._least.get(model, cost))

    def least(self, model: Hashable) -> int | None:
        """The least cost that failed; None where none has."""
        return self._least.get(model)


CEILINGS = Ceilings()  # this process's


def sizer_for(rows: int | None, cost: int | None, *, failed: int | None = None) -> Sizer:
    """The sizer for a pinned number of rows, for a cost that is known to be good, or one that finds it.

    It starts below ``failed``, a cost that is known to run out of memory.
    """
    sizer = _sizer_for(rows, cost)
    if failed is not None:
        sizer.failed(failed)
    return sizer


def _sizer_for(rows: int | None, cost: int | None) -> Sizer:
    if rows is not None:
        return Pinned(rows)
    if cost is not None:
        return Measured(cost, ceiling=cost, settled=True)
    return Measured(START, ceiling=CEILING)


def next_size(seconds: Mapping[int, float], ceiling: int) -> tuple[int, bool]:
    """The size to compute with next, and whether it is the one to stay with.

    ``seconds`` has what a full batch of each measured size took. While the largest is the fastest
    and the fitted line promises more, twice that is tried.
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
    """The rate at ``size`` by the line through what was measured; with one size, no bound is known."""
    if len(seconds) == 1:
        return float("inf")
    intercept, slope = line(sorted(seconds.items()))
    return size / max(intercept + slope * size, 1e-12)


def line(points: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """Intercept and slope by the median of all pairs' slopes: one slow call does not bend it."""
    slopes = [
        (y2 - y1) / (x2 - x1) for i, (x1, y1) in enumerate(points) for x2, y2 in points[i + 1 :]
    ]
    slope = max(median(slopes), 0.0)
    return max(median(y - slope * x for x, y in points), 0.0), slope


def _rows(size: int, width: int) -> int:
    return max(1, size // max(width, 1))

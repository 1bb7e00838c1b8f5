"""Distributions in a few kilobytes: exact counts in cells, independent of the order of values.

Both sketches are a function of the values alone: parts that are sketched apart and merged give what
the whole gives, so units, attempts and machines need not agree on anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_CELLS = 1024
MOST_CATEGORIES = 256
LONGEST_CATEGORY = 64  # characters; longer texts are no names of kinds
LONG = f"(more than {LONGEST_CATEGORY} characters)"
_DROPPED_BITS = 32  # of a double's 64: sign, exponent and 20 bits of the fraction are left, 1e-6
_SIGN = np.int64(2**63 - 1)  # all bits but the sign's

Cells = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Numbers:
    """Counts of finite numbers in cells whose width grows with the number, as a double's own bits do.

    Cell ``k`` holds numbers from `edge` of ``k`` on. ``shift`` is the least at which there are no more
    than MOST_CELLS cells with a count: of many values that are close together, cells are narrow.
    """

    shift: int = 0
    cells: Cells = field(default_factory=lambda: np.empty(0, np.int64))  # ascending, none twice
    counts: Cells = field(default_factory=lambda: np.empty(0, np.int64))  # none is 0

    @staticmethod
    def of(values: NDArray[np.float64], counts: Cells | None = None) -> Numbers:
        """The sketch of finite ``values``, of which there are so many each, or one."""
        cells = _rounded(np.ascontiguousarray(values, np.float64))
        return _fitted(0, cells, np.ones(len(cells), np.int64) if counts is None else counts)

    @property
    def total(self) -> int:
        """How many numbers were counted."""
        return int(self.counts.sum())

    def merged(self, other: Numbers) -> Numbers:
        """The sketch of the values of both."""
        shift = max(self.shift, other.shift)
        cells = np.concatenate([one.at(shift).cells for one in (self, other)])
        counts = np.concatenate([one.at(shift).counts for one in (self, other)])
        return _fitted(shift, cells, counts)

    def at(self, shift: int) -> Numbers:
        """The same counts in wider cells."""
        return Numbers(shift, *_summed(_shifted(self.cells, shift - self.shift), self.counts))

    def edge(self, cell: int) -> float:
        """The number of a cell that is nearest to zero."""
        bits = np.array([min(abs(cell) << (self.shift + _DROPPED_BITS), int(_SIGN))], np.int64)
        return float(np.copysign(bits.view(np.float64)[0], cell))

    def as_json(self) -> dict[str, Any]:
        """Plain values; cells as differences, which are small."""
        return {
            "shift": self.shift,
            "cells": np.diff(self.cells, prepend=0).tolist(),
            "counts": self.counts.tolist(),
        }

    @staticmethod
    def from_json(stored: Mapping[str, Any]) -> Numbers:
        """The inverse of `as_json`."""
        cells = np.cumsum(np.array(stored["cells"], np.int64))
        return Numbers(int(stored["shift"]), cells, np.array(stored["counts"], np.int64))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Numbers) and self.as_json() == other.as_json()

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Categories:
    """How often each value occurs; None where there are too many different ones.

    Values that are too long to be names of kinds are one category together.
    """

    counts: Mapping[str, int] | None = field(default_factory=dict)

    @staticmethod
    def of(counts: Iterable[tuple[str, int]]) -> Categories:
        """The sketch of values that occur so often each; a value may be named several times."""
        summed: Counter[str] = Counter()
        for value, count in counts:
            summed[value if len(value) <= LONGEST_CATEGORY else LONG] += count
        is_exact = len(summed) <= MOST_CATEGORIES
        return Categories(dict(sorted(summed.items())) if is_exact else None)

    @property
    def total(self) -> int:
        """How many values were counted; 0 where categories are too many to count."""
        return sum((self.counts or {}).values())

    def merged(self, other: Categories) -> Categories:
        """The sketch of the values of both."""
        if self.counts is None or other.counts is None:
            return Categories(None)
        return Categories.of([*self.counts.items(), *other.counts.items()])

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"categories": self.counts if self.counts is None else dict(self.counts)}

    @staticmethod
    def from_json(stored: Mapping[str, Any]) -> Categories:
        """The inverse of `as_json`."""
        return Categories(stored["categories"])


Sketch = Numbers | Categories


def from_json(stored: Mapping[str, Any]) -> Sketch:
    """A sketch of either kind."""
    return Categories.from_json(stored) if "categories" in stored else Numbers.from_json(stored)


def merged(one: Sketch, other: Sketch) -> Sketch:
    """The sketch of the values of both, which are of one kind."""
    if isinstance(one, Numbers) and isinstance(other, Numbers):
        return one.merged(other)
    if isinstance(one, Categories) and isinstance(other, Categories):
        return one.merged(other)
    raise TypeError(f"{type(one).__name__} and {type(other).__name__} do not merge")


def union(sketches: Iterable[Sketch]) -> Sketch:
    """The sketch of the values of all, of which there is one at least."""
    return reduce(merged, sketches)


def _rounded(values: NDArray[np.float64]) -> Cells:
    """The narrowest cell of each value. Rounded, so that 0.5 and what computing makes of it are one."""
    bits = values.view(np.int64)
    magnitude: Cells = ((bits & _SIGN) + (1 << (_DROPPED_BITS - 1))) >> _DROPPED_BITS
    signs: Cells = np.where(bits < 0, -1, 1)
    return signs * magnitude


def _shifted(cells: Cells, by: int) -> Cells:
    shifted: Cells = np.sign(cells) * (np.abs(cells) >> by)
    return shifted


def _summed(cells: Cells, counts: Cells) -> tuple[Cells, Cells]:
    """Each cell once, ascending, with the sum of its counts."""
    order = np.argsort(cells, kind="stable")
    found, starts = np.unique(cells[order], return_index=True)
    sums = np.add.reduceat(counts[order], starts) if len(found) else counts[:0]
    return found, sums.astype(np.int64)


def _fitted(shift: int, cells: Cells, counts: Cells) -> Numbers:
    """In the narrowest cells, from ``shift`` on, of which no more than MOST_CELLS have a count."""
    cells, counts = _summed(cells, counts)
    while len(cells) > MOST_CELLS:
        shift += 1
        cells, counts = _summed(_shifted(cells, 1), counts)
    return Numbers(shift, cells, counts)

"""Distances of two distributions from their sketches: PSI, Kolmogorov-Smirnov, Jensen-Shannon."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from millrace.pipelines.profiling.sketches import Categories, Numbers, Sketch

GROUPS = 10  # of equal shares of the baseline, as PSI is used to
FLOOR = 1e-4  # share that an empty group counts as in PSI, which is infinite there
RARE = 0.005  # share of both samples together below which a category goes with the others
FEW = 10  # rows of both together, the same
_Z = 3.09  # one in a thousand, of a normal distribution
_KS = 1.95  # the same, of Kolmogorov's

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Distance:
    """What the statistics come to, or 1 in 1000 pairs of samples of one source would exceed by chance.

    ``ks`` is None of categories, which have no order. ``js`` is the distance: the root of the
    divergence in bits, 0 to 1.
    """

    psi: float
    js: float
    ks: float | None = None


@dataclass(frozen=True)
class Compared:
    """Two sketches' distance, and what chance alone makes of so few rows."""

    found: Distance
    chance: Distance


def compared(before: Sketch, now: Sketch) -> Compared | None:
    """How far ``now`` is from ``before``; None where one of them has no values, or too many categories."""
    if not before.total or not now.total:
        return None
    if isinstance(before, Categories) and isinstance(now, Categories):
        p, q = _categories(before, now)
        return Compared(Distance(psi(p, q), jensen_shannon(p, q)), _chance(p, q, is_ordered=False))
    if isinstance(before, Numbers) and isinstance(now, Numbers):
        cells = aligned(before, now)
        p, q = grouped(*cells)
        found = Distance(psi(p, q), jensen_shannon(p, q), kolmogorov_smirnov(*cells))
        return Compared(found, _chance(p, q, is_ordered=True))
    raise TypeError(f"{type(before).__name__} and {type(now).__name__} are of two kinds")


def psi(before: Counts, now: Counts) -> float:
    """The population stability index of two rows of counts, in natural units; empty ones count as FLOOR."""
    p, q = (np.maximum(_shares(counts), FLOOR) for counts in (before, now))
    return float(np.sum((q - p) * np.log(q / p)))


def jensen_shannon(before: Counts, now: Counts) -> float:
    """The Jensen-Shannon distance of two rows of counts: 0 where shares are equal, 1 where none meet."""
    p, q = _shares(before), _shares(now)
    middle = (p + q) / 2
    divergence = (_divergence(p, middle) + _divergence(q, middle)) / 2
    return math.sqrt(min(1.0, max(0.0, divergence)))


def kolmogorov_smirnov(before: Counts, now: Counts) -> float:
    """The largest difference of the two cumulative shares, of counts in ascending cells."""
    return float(np.abs(np.cumsum(_shares(before)) - np.cumsum(_shares(now))).max())


def aligned(before: Numbers, now: Numbers) -> tuple[Counts, Counts]:
    """The counts of both in the same ascending cells, empty ones included."""
    shift = max(before.shift, now.shift)
    one, other = before.at(shift), now.at(shift)
    cells = np.union1d(one.cells, other.cells)
    both = np.zeros((2, len(cells)), np.int64)
    for counts, sketch in zip(both, (one, other), strict=True):
        counts[np.searchsorted(cells, sketch.cells)] = sketch.counts
    return both[0], both[1]


def grouped(before: Counts, now: Counts) -> tuple[Counts, Counts]:
    """Counts of aligned cells in GROUPS of about equal shares of ``before``, and what is outside of it.

    A cell is never cut: a value that a third of the rows have is a group of its own, or the end of one.
    No group has less than FEW rows of both together: one row beyond the largest so far is no news.
    """
    filled = np.flatnonzero(before)
    first, last = int(filled[0]), int(filled[-1])
    ended = np.cumsum(before) / before.sum()
    begun = ended - before / before.sum()
    # By its middle: a cell that spans several groups belongs to one of them, and the next cell to another.
    group = np.minimum((GROUPS * (ended + begun) / 2).astype(np.int64), GROUPS - 1) + 1
    group[:first], group[last + 1 :] = 0, GROUPS + 1
    ids, places = np.unique(group, return_inverse=True)
    sums = [np.bincount(places, counts, len(ids)).astype(np.int64) for counts in (before, now)]
    starts = _starts(sums[0] + sums[1])
    return np.add.reduceat(sums[0], starts), np.add.reduceat(sums[1], starts)


def _starts(counts: Counts) -> list[int]:
    """Where to cut neighbours so that each part has FEW, or all there is."""
    starts, so_far = [0], 0
    for place, count in enumerate(counts.tolist()):
        if so_far >= FEW:
            starts.append(place)
            so_far = 0
        so_far += count
    return starts[:-1] if so_far < FEW and len(starts) > 1 else starts


def chance_of_share(share: float, before: int, now: int) -> float:
    """By how much a share differs in 1 of 1000 pairs of samples of so many rows, when it is this in both."""
    if not before or not now:
        return 1.0
    return _Z * math.sqrt(share * (1 - share) * (1 / before + 1 / now))


def _chance(p: Counts, q: Counts, *, is_ordered: bool) -> Distance:
    both = 1 / float(p.sum()) + 1 / float(q.sum())
    by_psi = _chi_square(max(1, len(p) - 1)) * both
    # Of small differences Jensen-Shannon's divergence is an eighth of PSI.
    by_js = min(1.0, math.sqrt(by_psi / 8 / math.log(2)))
    return Distance(by_psi, by_js, _KS * math.sqrt(both) if is_ordered else None)


def _chi_square(degrees: int) -> float:
    """What 1 in 1000 of a chi-square distribution exceed; Wilson and Hilferty's formula."""
    part = 2 / (9 * degrees)
    return float(degrees * (1 - part + _Z * math.sqrt(part)) ** 3)


def _categories(before: Categories, now: Categories) -> tuple[Counts, Counts]:
    """The counts of both by category; what is rare in both together is one."""
    one, other = before.counts or {}, now.counts or {}
    least = max(FEW, RARE * (before.total + now.total))
    categories = [v for v in sorted({*one, *other}) if one.get(v, 0) + other.get(v, 0) >= least]
    rows = [[counts.get(value, 0) for value in categories] for counts in (one, other)]
    rest = [sketch.total - sum(row) for sketch, row in zip((before, now), rows, strict=True)]
    if any(rest):
        rows = [[*row, left] for row, left in zip(rows, rest, strict=True)]
    return np.array(rows[0], np.int64), np.array(rows[1], np.int64)


def _shares(counts: Counts) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = counts / counts.sum()
    return shares


def _divergence(p: NDArray[np.float64], of: NDArray[np.float64]) -> float:
    there = p > 0
    return float(np.sum(p[there] * np.log2(p[there] / of[there])))

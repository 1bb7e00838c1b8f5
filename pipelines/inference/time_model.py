"""How long a run will take, and how sure that is: pure functions of what was measured, without Spark.

A time is a fixed part and parts in proportion to rows, tokens or bytes. Errors are relative: a time that
may be off by a tenth is so whether it is a minute or an hour, so intervals are taken of logarithms.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.80  # of the intervals: of ten truths, eight lie inside
RUNS_DIFFER = 0.12  # by so much, relatively, runs of one job differ where no past runs tell; as if
AS_SURE_AS = 3  # so many past runs had shown it
GAIN = 0.8  # times the error of a simpler line that a further part has to reach, to be taken
# Student's t of a two-sided interval of LEVEL, by degrees of freedom from 1 on; beyond, the normal's.
_T = (3.078, 1.886, 1.638, 1.533, 1.476, 1.440, 1.415, 1.397, 1.383, 1.372)
_NORMAL = 1.282
_FEWEST_FOR_A_CHOICE = 5  # measurements
_OFF_S = (
    0.15  # by so much a measurement of a second is off, and one of t seconds by its root of t times
)
_LEAST_S = 0.5  # what takes less is not known more surely than this
_PARTS = {"rows": "per_row_s", "tokens": "per_token_s", "size_bytes": "per_byte_s"}


@dataclass(frozen=True)
class Workload:
    """How much there is to compute."""

    rows: float
    tokens: float = 0.0
    size_bytes: float = 0.0

    def times(self, factor: float) -> Workload:
        """So many times as much of everything."""
        return Workload(self.rows * factor, self.tokens * factor, self.size_bytes * factor)


@dataclass(frozen=True)
class Observation:
    """One measurement: what was computed, and the seconds it took."""

    amount: Workload
    seconds: float


@dataclass(frozen=True)
class LinearTime:
    """Seconds as a fixed part and parts in proportion; what does not help is 0."""

    fixed_s: float = 0.0
    per_row_s: float = 0.0
    per_token_s: float = 0.0
    per_byte_s: float = 0.0

    def growing_s(self, amount: Workload) -> float:
        """The part that grows with the amount, and shrinks with more slots."""
        return (
            self.per_row_s * amount.rows
            + self.per_token_s * amount.tokens
            + self.per_byte_s * amount.size_bytes
        )

    def seconds(self, amount: Workload) -> float:
        """All of it."""
        return self.fixed_s + self.growing_s(amount)

    def __add__(self, other: LinearTime) -> LinearTime:
        """One after the other."""
        return LinearTime(
            self.fixed_s + other.fixed_s,
            self.per_row_s + other.per_row_s,
            self.per_token_s + other.per_token_s,
            self.per_byte_s + other.per_byte_s,
        )


@dataclass(frozen=True)
class Estimate:
    """A forecast and its interval of `LEVEL`."""

    low: float
    mid: float
    high: float

    def times(self, factor: float) -> Estimate:
        """The same of something in proportion."""
        return Estimate(self.low * factor, self.mid * factor, self.high * factor)


@dataclass(frozen=True)
class RunTimeModel:
    """What a run's time consists of: what every run takes once, what a unit takes, and what grows."""

    once_s: float  # session, checks, what is cold, accounting, pages: no slot makes it shorter
    unit_s: float  # job and commit of a unit
    growing: LinearTime  # only what grows; measured with ``slots``
    slots: int

    def seconds(self, amount: Workload, units: int, slots: int) -> float:
        """Seconds of a run on so many slots: the serial part does not scale, the rest does."""
        return (
            self.once_s + self.unit_s * units + self.growing.growing_s(amount) * self.slots / slots
        )


def fit(seen: Sequence[Observation]) -> LinearTime:
    """The line through the measurements: rows alone, with tokens or bytes too where they help.

    No part is negative. Raises ValueError without a measurement.
    """
    if not seen:
        raise ValueError("no measurement to fit")
    best: tuple[str, ...] = ("rows",)
    if len(seen) < _FEWEST_FOR_A_CHOICE:
        return _fitted(seen, best)
    least = _left_out(seen, best)
    for parts in (("tokens",), ("rows", "tokens"), ("rows", "size_bytes")):
        error = _left_out(seen, parts)
        if error < GAIN * least:
            best, least = parts, error
    return _fitted(seen, best)


def stray(seen: Sequence[Observation], line: LinearTime, amount: Workload) -> float:
    """The standard deviation, in seconds, of what the line through the measurements predicts.

    By how far they lie off their line, together with what is taken of any measurement: few that agree
    by chance are not surer than that, and a flat line may yet rise.
    """
    names = [name for part, name in _PARTS.items() if part == "rows" or getattr(line, name)]
    parts = [part for part, name in _PARTS.items() if name in names]
    columns, weights = _columns(seen, parts), _weights(seen)
    off = [
        (line.seconds(one.amount) - one.seconds) * weight
        for one, weight in zip(seen, weights, strict=True)
    ]
    free = max(0, len(seen) - columns.shape[1])
    squares = sum(each**2 for each in off) if free else 0.0
    variance = (AS_SURE_AS * _OFF_S**2 + squares) / (AS_SURE_AS + free)
    weighted = columns * weights[:, None]
    scale = np.maximum(np.abs(weighted).max(axis=0), 1e-300)
    inverse = np.linalg.pinv((weighted / scale).T @ (weighted / scale))
    point = np.array([1.0, *(getattr(amount, part) for part in parts)]) / scale
    return math.sqrt(max(0.0, variance * float(point @ inverse @ point)))


def around(mid: float, relative: float, freedom: float = math.inf) -> Estimate:
    """The interval around a forecast whose logarithm has this standard deviation."""
    factor = math.exp(quantile(freedom) * relative)
    return Estimate(mid / factor, mid, mid * factor)


def quantile(freedom: float) -> float:
    """Student's t for `LEVEL` with so many degrees of freedom; at least 1."""
    return _T[max(1, int(freedom)) - 1] if freedom < len(_T) + 1 else _NORMAL


def differ(ratios: Sequence[float], prior: float = RUNS_DIFFER) -> float:
    """How much runs differ, relatively, by the ratios of their times to what was foreseen for them.

    A ratio that all have in common is no difference. Few ratios do not weigh more than what is taken
    where there is none.
    """
    logs = [math.log(ratio) for ratio in ratios]
    middle = sum(logs) / len(logs) if logs else 0.0
    squares = sum((one - middle) ** 2 for one in logs)
    known = max(0, len(logs) - 1)
    return math.sqrt((AS_SURE_AS * prior**2 + squares) / (AS_SURE_AS + known))


def blend(
    mid: float, unsure: float, ratios: Sequence[float], prior: float = RUNS_DIFFER
) -> Estimate:
    """A forecast corrected by past runs: by the ratios of their times to this forecast's for them.

    ``unsure``: the forecast's own relative standard deviation, without what runs differ by. Each
    counts by how sure it is; without past runs the forecast stays as it is.
    """
    differing = differ(ratios, prior)
    if not ratios:
        return around(mid, math.hypot(unsure, differing), AS_SURE_AS)
    mean = sum(math.log(ratio) for ratio in ratios) / len(ratios)
    of_mean = differing**2 / len(ratios)
    total = unsure**2 + of_mean
    trust = unsure**2 / total if total else 0.5
    left = math.sqrt(unsure**2 * of_mean / total) if total else 0.0
    freedom = AS_SURE_AS + len(ratios) - 1
    return around(mid * math.exp(trust * mean), math.hypot(left, differing), freedom)


def _columns(seen: Sequence[Observation], parts: Sequence[str]) -> NDArray[np.float64]:
    return np.array([[1.0, *(getattr(one.amount, part) for part in parts)] for one in seen])


def _weights(seen: Sequence[Observation]) -> NDArray[np.float64]:
    """The variance of a measurement grows with its seconds, of which a clock's own noise adds some."""
    return np.array([1 / math.sqrt(max(one.seconds, _LEAST_S)) for one in seen])


def _without_one(seen: Sequence[Observation]) -> Iterator[tuple[Observation, list[Observation]]]:
    for at, one in enumerate(seen):
        yield one, [*seen[:at], *seen[at + 1 :]]


def _left_out(seen: Sequence[Observation], parts: tuple[str, ...]) -> float:
    """How far each measurement is from what the others predict, by what its seconds are unsure."""
    errors: list[float] = [
        abs(_fitted(rest, parts).seconds(one.amount) - one.seconds) * weight
        for (one, rest), weight in zip(_without_one(seen), _weights(seen), strict=True)
    ]
    return sum(errors) / len(errors)


def _fitted(seen: Sequence[Observation], parts: tuple[str, ...]) -> LinearTime:
    """Least squares without negative parts."""
    columns, weights = _columns(seen, parts), _weights(seen)
    seconds = np.array([one.seconds for one in seen])
    found = _at_least_zero(columns * weights[:, None], seconds * weights)
    growing = {_PARTS[part]: float(value) for part, value in zip(parts, found[1:], strict=True)}
    return replace(LinearTime(fixed_s=float(found[0])), **growing)


def _at_least_zero(
    columns: NDArray[np.float64], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The best solution without a negative part: of four columns at most, every choice is tried."""
    count = columns.shape[1]
    best, least = np.zeros(count), math.inf
    scale = np.maximum(np.abs(columns).max(axis=0), 1e-300)
    for size in range(count, 0, -1):
        for chosen in combinations(range(count), size):
            indices = list(chosen)
            part, *_ = np.linalg.lstsq(columns[:, indices] / scale[indices], values, rcond=None)
            if (part < 0).any():
                continue
            error = float(np.sum((columns[:, indices] / scale[indices] @ part - values) ** 2))
            if error < least * (1 - 1e-9):
                best, least = np.zeros(count), error
                best[indices] = part / scale[indices]
    return best

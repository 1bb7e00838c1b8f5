"""Profiles as Spark computes them: columns and aggregates that fit into any one pass over the rows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from millrace.pipelines.profiling.profiles import CATEGORY, LENGTH, MEAN, Measure, MeasureProfile
from millrace.pipelines.profiling.sketches import LONGEST_CATEGORY, Categories, Numbers, Sketch
from millrace.pipelines.spark.conditions import rows_where, whole
from millrace.schemas.rule import quoted

SAMPLED_ROWS = (
    50_000  # of which distributions are made: cumulative shares are right to 0.006, mostly
)
MOST_SAMPLED = 2_000_000  # values that come to the driver, of all measures together
_RESOLUTION = 1 << 20
_ROWS = "profile_rows"


@dataclass(frozen=True)
class Sampling:
    """Which rows distributions are made of: by a hash of the key, so that each look finds the same."""

    key: tuple[str, ...]
    share: float

    @staticmethod
    def of(key: tuple[str, ...], expected_rows: int, measures: int) -> Sampling:
        """As many rows as are enough, of about ``expected_rows``."""
        wanted = min(SAMPLED_ROWS, MOST_SAMPLED // max(1, measures))
        return Sampling(key, min(1.0, wanted / max(1, expected_rows)))

    @property
    def taken(self) -> Column:
        """Whether a row is in the sample."""
        if self.share >= 1:
            return F.lit(True)
        place = F.pmod(F.xxhash64(*map(quoted, self.key)), F.lit(_RESOLUTION))
        return place < F.lit(math.ceil(self.share * _RESOLUTION))


def profiled(
    rows: DataFrame,
    measures: Sequence[Measure],
    types: Mapping[str, str],
    sampling: Sampling,
    unfit: Column | None = None,
) -> list[MeasureProfile]:
    """The profiles of ``rows``, in a pass of their own over the columns that are measured."""
    selected = rows.select(*columns(measures, types, sampling, unfit))
    (found,) = selected.agg(*aggregates(measures)).collect()
    return read(found.asDict(), measures)


def columns(
    measures: Sequence[Measure],
    types: Mapping[str, str],
    sampling: Sampling,
    unfit: Column | None = None,
) -> list[Column]:
    """What `aggregates` reads: of each measure a row's value, and whether there was one to measure.

    ``unfit`` tells rows whose null stands for a value that was not finite.
    """
    spoiled = F.lit(False) if unfit is None else F.coalesce(unfit, F.lit(False))
    found = []
    for at, (column, name) in enumerate(measures):
        kind, there = types[column].lower(), F.col(quoted(column)).isNotNull()
        value = _value(F.col(quoted(column)), name, kind)
        if name == MEAN:  # an array's elements take time: those of sampled rows alone
            value, there = F.when(sampling.taken, value), there & sampling.taken
        found += [
            value.alias(_named(at, "value")),
            F.when(sampling.taken, value).alias(_named(at, "sampled")),
            (F.col(quoted(column)).isNull() & ~spoiled).alias(_named(at, "null")),
            ((there & value.isNull()) | spoiled).alias(_named(at, "unfit")),
        ]
    return found


def aggregates(measures: Sequence[Measure]) -> list[Column]:
    """The aggregates over `columns`; `read` makes profiles of their row."""
    found = [F.count(F.lit(1)).alias(_ROWS)]
    for at, (_, name) in enumerate(measures):
        found += [
            rows_where(F.col(_named(at, "null"))).alias(_named(at, "nulls")),
            rows_where(F.col(_named(at, "unfit"))).alias(_named(at, "not_finite")),
            F.collect_list(_named(at, "sampled")).alias(_named(at, "sample")),
        ]
        if name != CATEGORY:
            value = _named(at, "value")
            found += [
                F.min(value).alias(_named(at, "least")),
                F.max(value).alias(_named(at, "largest")),
                F.avg(value).alias(_named(at, "mean")),
            ]
    return found


def read(row: Mapping[str, Any], measures: Sequence[Measure]) -> list[MeasureProfile]:
    """The profiles that a row of `aggregates` tells; it may have other columns too."""
    return [_profile(row, at, measure) for at, measure in enumerate(measures)]


def _profile(row: Mapping[str, Any], at: int, measure: Measure) -> MeasureProfile:
    figures = {name: row.get(_named(at, name)) for name in ("least", "largest", "mean")}
    figures |= {name: whole(row[_named(at, name)]) for name in ("nulls", "not_finite")}
    sketch = _sketch(measure, row[_named(at, "sample")])
    return MeasureProfile(measure, row[_ROWS], **figures, sketch=sketch)  # type: ignore[arg-type]


def _sketch(measure: Measure, sample: Sequence[Any]) -> Sketch:
    if measure.name == CATEGORY:
        return Categories.of(Counter(sample).items())
    return Numbers.of(np.array(sample, np.float64))


def _value(column: Column, name: str, kind: str) -> Column:
    """What is measured of a row's column; null where there is no such value, or none that is finite."""
    if name == CATEGORY:
        return F.substring(column.cast("string"), 1, LONGEST_CATEGORY + 1)
    if name == LENGTH:
        return (F.array_size(column) if kind.startswith("array<") else F.length(column)).cast(
            "double"
        )
    if name == MEAN:
        total = F.aggregate(column, F.lit(0.0), lambda sum_, one: sum_ + one.cast("double"))
        return _finite(total / F.when(F.array_size(column) > 0, F.array_size(column)))
    number = column.cast("double")
    return _finite(number) if kind in ("float", "double") else number


def _finite(value: Column) -> Column:
    """Null instead of NaN and infinity."""
    return F.when(~F.isnan(value) & (F.abs(value) != F.lit(math.inf)), value)


def _named(at: int, what: str) -> str:
    return f"profile_{at}_{what}"

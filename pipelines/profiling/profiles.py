"""Mergeable profiles of columns: counts and sketches of an input or of outputs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from typing import Any, NamedTuple

from millrace.pipelines.lake import delta
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.lake.runs import Run
from millrace.pipelines.profiling.sketches import Categories, Numbers, Sketch, from_json, merged
from millrace.schemas.tables import PROFILES

INPUT, OUTPUT = "input", "output"
VALUE, LENGTH, MEAN, CATEGORY = "value", "length", "mean", "category"
LABEL = "label"  # an output whose numbers are names of classes
_NUMBERS = ("tinyint", "smallint", "int", "bigint", "float", "double", "decimal")


class Measure(NamedTuple):
    """What is measured of a column: its number, its length, its elements' mean, or which value it is."""

    column: str
    name: str  # value, length, mean or category


@dataclass(frozen=True)
class MeasureProfile:
    """A measure of a column over some rows: all are counted, ``sketch`` may be of a sample of them.

    ``nulls`` and ``not_finite`` (NaN, infinite) are in no other figure but ``rows``.
    """

    measure: Measure
    rows: int
    nulls: int
    not_finite: int
    least: float | None  # None of categories, and of no values
    largest: float | None
    mean: float | None
    sketch: Sketch

    @property
    def missing(self) -> float:
        """Share of rows without a value to measure."""
        return (self.nulls + self.not_finite) / self.rows if self.rows else 0.0

    @property
    def values(self) -> int:
        """Rows with a value."""
        return self.rows - self.nulls - self.not_finite

    def merged(self, other: MeasureProfile) -> MeasureProfile:
        """The profile of the rows of both, of the same measure."""
        mean, values = None, self.values + other.values
        if values:
            sums = [one.values * one.mean for one in (self, other) if one.mean is not None]
            mean = sum(sums) / values if sums else None
        return MeasureProfile(
            self.measure,
            self.rows + other.rows,
            self.nulls + other.nulls,
            self.not_finite + other.not_finite,
            _pick(min, self.least, other.least),
            _pick(max, self.largest, other.largest),
            mean,
            merged(self.sketch, other.sketch),
        )


Profiles = Mapping[Measure, MeasureProfile]


def measures_of(types: Mapping[str, str]) -> list[Measure]:
    """What can be measured of columns, by their SQL types; of dates, times and structs nothing."""
    return [Measure(column, name) for column, kind in types.items() for name in _names(kind)]


def output_measures(types: Mapping[str, str]) -> list[Measure]:
    """The same of a model's outputs, where a label is a category whatever its type."""
    rest = {name: kind for name, kind in types.items() if name != LABEL}
    label = [Measure(LABEL, CATEGORY)] if LABEL in types else []
    return [*label, *measures_of(rest)]


def empty(measure: Measure) -> MeasureProfile:
    """The profile of no rows."""
    sketch = Categories() if measure.name == CATEGORY else Numbers()
    return MeasureProfile(measure, 0, 0, 0, None, None, None, sketch)


def union(profiles: Iterable[MeasureProfile]) -> MeasureProfile:
    """The profile of the rows of all, of which there is one at least."""
    return reduce(MeasureProfile.merged, profiles)


def write(
    lake: LakeLocation,
    run: Run,
    unit: int | None,
    profiles: Iterable[MeasureProfile],
    transaction: str,
    at: datetime,
) -> None:
    """Keep the profiles of a run's input (``unit`` None), or of a unit's outputs; once a transaction."""
    about = {
        "run_id": run.run_id,
        "job": run.job,
        "side": INPUT if unit is None else OUTPUT,
        "unit": unit,
        "at": at,
    }
    delta.append_values([about | _row(one) for one in profiles], lake, PROFILES, transaction)


def of_input(lake: LakeLocation, run_id: str) -> dict[Measure, MeasureProfile]:
    """The profiles of a run's input; none where none were stored."""
    return {one.measure: one for _, one in _read(lake, run_id, INPUT)}


def of_units(lake: LakeLocation, run_id: str) -> dict[int, dict[Measure, MeasureProfile]]:
    """The profiles of a run's outputs, by unit."""
    found: dict[int, dict[Measure, MeasureProfile]] = {}
    for row, one in _read(lake, run_id, OUTPUT):
        found.setdefault(row["unit"], {})[one.measure] = one
    return dict(sorted(found.items()))


def over_units(units: Mapping[int, Profiles]) -> dict[Measure, MeasureProfile]:
    """The profiles of the outputs of all units together."""
    measures = dict.fromkeys(measure for unit in units.values() for measure in unit)
    return {
        measure: union(unit[measure] for unit in units.values() if measure in unit)
        for measure in measures
    }


def _read(
    lake: LakeLocation, run_id: str, side: str
) -> list[tuple[dict[str, Any], MeasureProfile]]:
    rows = delta.values(lake, PROFILES, [("run_id", "=", run_id), ("side", "=", side)])
    return [(row, _profile(row)) for row in rows]


def _row(profile: MeasureProfile) -> dict[str, Any]:
    plain = {name: value for name, value in vars(profile).items() if name != "measure"}
    return plain | {
        "column": profile.measure.column,
        "measure": profile.measure.name,
        "sampled": profile.sketch.total,
        "sketch": json.dumps(profile.sketch.as_json(), separators=(",", ":")),
    }


def _profile(row: Mapping[str, Any]) -> MeasureProfile:
    named = ("rows", "nulls", "not_finite", "least", "largest", "mean")
    measure, sketch = Measure(row["column"], row["measure"]), from_json(json.loads(row["sketch"]))
    return MeasureProfile(measure, **{name: row[name] for name in named}, sketch=sketch)


def _names(kind: str) -> Sequence[str]:
    kind = kind.lower()
    if kind.startswith(_NUMBERS):
        return (VALUE,)
    if kind == "boolean":
        return (CATEGORY,)
    if kind == "string":
        return (CATEGORY, LENGTH)
    if kind == "binary":
        return (LENGTH,)
    if kind.startswith("array<"):
        is_numbers = kind[len("array<") :].startswith(_NUMBERS)
        return (LENGTH, MEAN) if is_numbers else (LENGTH,)
    return ()


def _pick(which: Any, one: float | None, other: float | None) -> float | None:
    there = [value for value in (one, other) if value is not None]
    return which(there) if there else None

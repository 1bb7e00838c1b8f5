"""What a unit's outputs must be before they are committed: a share of NaN, classes, ranges."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.profiles import CATEGORY, LABEL, VALUE, Measure, Profiles
from pipelines.sketches import Categories
from schemas.errors import UsageError
from schemas.monitor import Outputs


def check_names(asked: Outputs, measures: list[Measure]) -> None:
    """Raise UsageError for a gate over an output that the model does not give as it is needed."""
    numbers = [measure.column for measure in measures if measure.name == VALUE]
    if unknown := [name for name in asked.ranges if name not in numbers]:
        raise UsageError(
            "monitor.outputs.ranges names what is no number that the model gives",
            got=", ".join(unknown),
            allowed=", ".join(numbers) or "nothing: the model gives no single numbers",
            next="correct monitor.outputs.ranges",
        )
    if asked.min_classes is not None and Measure(LABEL, CATEGORY) not in measures:
        raise UsageError(
            f"monitor.outputs.min_classes needs a model that gives `{LABEL}`",
            got=", ".join(measure.column for measure in measures) or "no output with a measure",
            next="take min_classes out of the job file",
        )


def refusals(unit: Profiles, asked: Outputs) -> list[str]:
    """What is wrong with a unit's outputs; empty where nothing is."""
    return [*_not_finite(unit, asked), *_classes(unit, asked), *_ranges(unit, asked)]


def _not_finite(unit: Profiles, asked: Outputs) -> Iterator[str]:
    if asked.max_nan_share is None or not unit:
        return
    first = next(iter(unit.values()))  # it is whole rows that are spoiled, of all outputs alike
    if first.not_finite > asked.max_nan_share * first.rows:
        yield (
            f"{first.not_finite:,} of {first.rows:,} rows have NaN or infinite outputs, "
            f"more than max_nan_share {asked.max_nan_share:.1%}"
        )


def _classes(unit: Profiles, asked: Outputs) -> Iterator[str]:
    label = unit.get(Measure(LABEL, CATEGORY))
    if asked.min_classes is None or label is None or label.values < asked.min_rows:
        return
    told = label.sketch.counts if isinstance(label.sketch, Categories) else None
    if told is not None and len(told) < asked.min_classes:
        yield (
            f"{label.values:,} rows have {len(told)} of at least {asked.min_classes} classes: "
            f"{', '.join(map(repr, told))}"
        )


def _ranges(unit: Profiles, asked: Outputs) -> Iterator[str]:
    for name, (least, largest) in asked.ranges.items():
        found = unit.get(Measure(name, VALUE))
        if found is None or found.least is None or found.largest is None:
            continue
        if found.least < least or found.largest > largest:
            yield (
                f"{name} goes from {found.least:.6g} to {found.largest:.6g}, "
                f"outside of {least:.6g} to {largest:.6g}"
            )

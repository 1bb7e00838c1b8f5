"""Checks of a unit's outputs before their commit: share of NaN, classes, ranges."""

from __future__ import annotations

from collections.abc import Iterator

from millrace.pipelines.profiling.profiles import (
    CATEGORY,
    LABEL,
    VALUE,
    Measure,
    Profiles,
    output_measures,
)
from millrace.pipelines.profiling.sketches import Categories
from millrace.schemas.config import Job
from millrace.schemas.errors import UsageError
from millrace.schemas.model import ModelCard
from millrace.schemas.monitor import Outputs


def check_job(job: Job, card: ModelCard) -> None:
    """Raise UsageError for an output that ``monitor`` names and the model does not give."""
    if job.monitor is not None:
        outputs = {name: spec.type for name, spec in card.signature.outputs.items()}
        check_names(job.monitor.outputs, output_measures(outputs))


def check_names(limits: Outputs, measures: list[Measure]) -> None:
    """Raise UsageError for a gate over an output that the model does not give as it is needed."""
    numbers = [measure.column for measure in measures if measure.name == VALUE]
    if unknown := [name for name in limits.ranges if name not in numbers]:
        raise UsageError(
            "monitor.outputs.ranges names what is no number that the model gives",
            got=", ".join(unknown),
            allowed=", ".join(numbers) or "nothing: the model gives no single numbers",
            next="correct monitor.outputs.ranges",
        )
    if limits.min_classes is not None and Measure(LABEL, CATEGORY) not in measures:
        raise UsageError(
            f"monitor.outputs.min_classes needs a model that gives `{LABEL}`",
            got=", ".join(measure.column for measure in measures) or "no output with a measure",
            next="take min_classes out of the job file",
        )


def refusals(unit: Profiles, limits: Outputs) -> list[str]:
    """What is wrong with a unit's outputs; empty where nothing is."""
    return [*_not_finite(unit, limits), *_classes(unit, limits), *_ranges(unit, limits)]


def _not_finite(unit: Profiles, limits: Outputs) -> Iterator[str]:
    if limits.max_nan_share is None or not unit:
        return
    first = next(iter(unit.values()))  # it is whole rows that are spoiled, of all outputs alike
    if first.not_finite > limits.max_nan_share * first.rows:
        yield (
            f"{first.not_finite:,} of {first.rows:,} rows have NaN or infinite outputs, "
            f"more than max_nan_share {limits.max_nan_share:.1%}"
        )


def _classes(unit: Profiles, limits: Outputs) -> Iterator[str]:
    label = unit.get(Measure(LABEL, CATEGORY))
    if limits.min_classes is None or label is None or label.values < limits.min_rows:
        return
    counts = label.sketch.counts if isinstance(label.sketch, Categories) else None
    if counts is not None and len(counts) < limits.min_classes:
        yield (
            f"{label.values:,} rows have {len(counts)} of at least {limits.min_classes} classes: "
            f"{', '.join(map(repr, counts))}"
        )


def _ranges(unit: Profiles, limits: Outputs) -> Iterator[str]:
    for name, (least, largest) in limits.ranges.items():
        found = unit.get(Measure(name, VALUE))
        if found is None or found.least is None or found.largest is None:
            continue
        if found.least < least or found.largest > largest:
            yield (
                f"{name} goes from {found.least:.6g} to {found.largest:.6g}, "
                f"outside of {least:.6g} to {largest:.6g}"
            )

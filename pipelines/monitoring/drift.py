"""Drift of columns against a baseline: each measure compared with its limits, and the findings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from millrace.pipelines.profiling.distances import Compared, chance_of_share, compared
from millrace.pipelines.profiling.profiles import CATEGORY, Measure, MeasureProfile, Profiles
from millrace.pipelines.profiling.sketches import Categories
from millrace.schemas.monitor import Drift

MISSING = "missing"
_NAMES = {"psi": "PSI", "ks": "KS", "js": "JS", "missing": "missing"}
_SHIFTED = 3  # categories that a text names


@dataclass(frozen=True)
class Finding:
    """One measure of one column, against the baseline's. A row of the drift table, but for whose it is."""

    column: str
    measure: str
    before: int
    now: int
    psi: float | None = None
    ks: float | None = None
    js: float | None = None
    missing: float | None = None
    limits: str = "{}"
    drifted: bool = False
    why: str | None = None

    @property
    def text(self) -> str:
        """The finding in a sentence's part, as warnings have it."""
        name = f"{self.column}.{self.measure}"
        return f"{name}: {self.why}" if self.why else f"{name}: as in the baseline"


def findings(before: Profiles, now: Profiles, limits: Drift) -> list[Finding]:
    """Every measure of ``now``, and each column's missing values, in the order of ``now``."""
    found = []
    reported: set[str] = set()
    for measure, profile in now.items():
        earlier = before.get(measure)
        if earlier is None:
            why = "the baseline does not have it"
            found.append(Finding(*measure, 0, profile.sketch.total, why=why))
            continue
        if measure.column not in reported:
            reported.add(measure.column)
            found.append(_missing(earlier, profile, limits))
        found.append(_distance(measure, earlier, profile, limits))
    return found


def drifted(found: Sequence[Finding]) -> list[Finding]:
    """Those that say that something is not as it was."""
    return [one for one in found if one.drifted]


def _missing(before: MeasureProfile, now: MeasureProfile, limits: Drift) -> Finding:
    difference = now.missing - before.missing
    both = before.rows + now.rows
    share = (before.missing * before.rows + now.missing * now.rows) / both if both else 0.0
    limit = max(limits.missing, chance_of_share(share, before.rows, now.rows))
    is_more = bool(before.rows and now.rows) and abs(difference) > limit
    return Finding(
        before.measure.column,
        MISSING,
        before.rows,
        now.rows,
        missing=difference,
        limits=json.dumps({"missing": round(limit, 6)}),
        drifted=is_more,
        why=f"{before.missing:.1%} before, {now.missing:.1%} now" if is_more else None,
    )


def _distance(
    measure: Measure, before: MeasureProfile, now: MeasureProfile, limits: Drift
) -> Finding:
    totals = before.sketch.total, now.sketch.total
    found = compared(before.sketch, now.sketch)
    if found is None:
        return Finding(*measure, *totals, why=_not_compared(before, now))
    allowed = _allowed(found, limits)
    over = {n: v for n, v in asdict(found.found).items() if v is not None and v > allowed[n]}
    why = ", ".join(f"{_NAMES[n]} {v:.3f}, at most {allowed[n]:.3f}" for n, v in over.items())
    reason = f"{why}; {_shift(before, now)}" if over else None
    return Finding(
        *measure,
        *totals,
        **asdict(found.found),
        limits=json.dumps({name: round(value, 6) for name, value in allowed.items()}),
        drifted=bool(over),
        why=reason,
    )


def _allowed(found: Compared, limits: Drift) -> dict[str, float]:
    """The limit of each statistic, or what chance makes of so few rows where that is more."""
    return {
        name: max(getattr(limits, name), chance)
        for name, chance in asdict(found.chance).items()
        if chance is not None
    }


def _not_compared(before: MeasureProfile, now: MeasureProfile) -> str:
    sketches = before.sketch, now.sketch
    if any(isinstance(one, Categories) and one.counts is None for one in sketches):
        return "too many different values to be categories: not compared"
    which = "the baseline" if not before.sketch.total else "the run"
    return f"{which} has no values: not compared"


def _shift(before: MeasureProfile, now: MeasureProfile) -> str:
    """What moved, in a few words."""
    if now.measure.name != CATEGORY:
        return f"mean {_number(before.mean)} before, {_number(now.mean)} now"
    return "; ".join(_moved(_shares(before), _shares(now)))


def _moved(before: Mapping[str, float], now: Mapping[str, float]) -> Iterator[str]:
    change = {name: now.get(name, 0.0) - before.get(name, 0.0) for name in {*before, *now}}
    largest = sorted(change, key=lambda name: (-abs(change[name]), name))
    for name in largest[:_SHIFTED]:
        yield f"{name!r} {before.get(name, 0.0):.1%} before, {now.get(name, 0.0):.1%} now"


def _shares(profile: MeasureProfile) -> dict[str, float]:
    counts: Mapping[str, Any] = getattr(profile.sketch, "counts", None) or {}
    return {name: count / profile.sketch.total for name, count in counts.items()}


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"

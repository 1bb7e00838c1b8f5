"""The definition of each figure of a run, as pure functions of rows of its tables.

The terminal, the report, the page of all runs and the metrics take these figures from here;
`tests/pipelines/reporting/test_run_figures.py` derives them from the tables independently.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

Row = Mapping[str, Any]
Books = Literal["close", "do not close", "not checked", "closed, but the tables differ now", "open"]

# Each kind of cost is in one group: `work` is for the rows of the result, `overhead` is reserved without a
# task of the run or to start one, and `lost` made no row of the result, or nobody knows what it made.
GROUPS = {
    "work": ("useful", "calibration", "validation", "read", "write", "model_load"),
    "overhead": ("startup", "idle", "driver"),
    "lost": ("failed", "killed", "speculative", "recomputed", "uncommitted", "unattributed"),
}
BEGINS = ("started", "resumed")
MOST = 0.5  # a part is most of a whole beyond that


@dataclass(frozen=True)
class Span:
    """Seconds for which a run reserved its machines, and those of them before its first step."""

    seconds: float
    before_s: float


def group_of(kind: str) -> str:
    """Return the group of a kind of cost; `lost` for an unknown one."""
    return next((group for group, kinds in GROUPS.items() if kind in kinds), "lost")


def grouped(kinds: Iterable[Row]) -> dict[str, float]:
    """Return slot seconds by group, of rows with ``kind`` and ``slot_s``."""
    found = dict.fromkeys(GROUPS, 0.0)
    for row in kinds:
        found[group_of(row["kind"])] += row["slot_s"]
    return found


def explained_share(ledger: Iterable[Row]) -> float | None:
    """Return the share of Spark's task time of which the ledger knows the kind; None without a task."""
    times = [
        (row["x_SlotMs"], row["x_CostKind"])
        for row in ledger
        if row["SkuMeter"] == "Core" and row["x_TaskId"] is not None
    ]
    whole = sum(ms for ms, _ in times)
    unknown = sum(ms for ms, kind in times if kind == "unattributed")
    return round(1 - unknown / whole, 4) if whole else None


def scored_now(scored: int | None, began: Sequence[datetime], units: Iterable[Row]) -> int:
    """Return the rows that the last attempt scored; ``began`` has the start of each attempt.

    Of several attempts, these are the rows of units committed since the last one began. A unit that an
    earlier one committed, and a later one recorded, has 0 seconds.
    """
    if len(began) < 2:  # noqa: PLR2004 - all rows are the only attempt's
        return scored or 0
    rows: dict[int, int] = {}
    for unit in units:
        if unit["state"] == "done" and unit["seconds"] and unit["at"] >= max(began):
            rows[unit["unit"]] = unit["scored"]
    return sum(rows.values())


def rows_per_s(scored: int | None, infer_s: float | None) -> float | None:
    """Return scored rows per second of inference, with start-up of workers and commits."""
    return round(scored / infer_s, 1) if scored and infer_s else None


def span(attempts: Iterable[Row]) -> Span | None:
    """Return for how long all attempts of a run reserved machines; None if that is not known.

    An attempt has ``held_since``, ``began`` (its first event) and ``ended`` (until when it was charged).
    """
    rows = list(attempts)
    if not rows or any(one[name] is None for one in rows for name in ("held_since", "ended")):
        return None
    total = sum((one["ended"] - one["held_since"]).total_seconds() for one in rows)
    before = sum((one["began"] - one["held_since"]).total_seconds() for one in rows)
    return Span(total, max(0.0, before))


def part_of(part: float, whole: float) -> str:
    """Return how to call a largest part: most of a whole, or only its largest part."""
    return "Most of it" if part > MOST * whole else "The largest part"


def books(state: str, closed: bool | None, compared: Collection[bool | None] = ()) -> Books:
    """Return whether a run's books close: by its gates when it ended, and by its tables now."""
    if state != "done":
        return "open"
    if closed is None:
        return "not checked"
    if not closed:
        return "do not close"
    return "closed, but the tables differ now" if False in compared else "close"

"""The input of a run in units of whole files: each is one Spark job and one commit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from millrace.pipelines.job import size_estimate
from millrace.pipelines.lake import delta
from millrace.pipelines.lake.delta_history import Commits
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.lake.runs import Run
from millrace.pipelines.sources.snapshot import name_in
from millrace.schemas.pinned import Pinned, PinnedFile
from millrace.schemas.tables import QUARANTINE, UNITS

PLANNED, DONE = "planned", "done"
_UNKNOWN_SPEED_BYTES = 1 << 30  # of a unit, before any speed is known
_WHOLE = ("delta", "idx")  # one version, or one file: not to be cut into whole files


@dataclass(frozen=True)
class Unit:
    """A part of the pinned input."""

    number: int
    pinned: Pinned
    expected_rows: int


def cut(
    pinned: Pinned, seconds: float, rows_per_s: float | None, rows: int | None = None
) -> list[Unit]:
    """Units of whole files in the input's order, each about ``seconds`` of work; at least one.

    ``rows_per_s`` is what all workers together do; None: not known, then a unit has a gibibyte.
    ``rows`` of the input are scored; None: all of them.
    """
    rows = size_estimate.expected_rows(pinned) if rows is None else rows
    if pinned.format in _WHOLE or len(pinned.files) <= 1:
        return [Unit(0, pinned, rows)]
    size = _UNKNOWN_SPEED_BYTES
    if rows_per_s and rows:
        size = max(1, round(seconds * rows_per_s * pinned.size_bytes / rows))
    groups = list(_grouped(pinned.files, size))
    return [
        Unit(number, part, round(rows * part.size_bytes / max(1, pinned.size_bytes)))
        for number, part in enumerate(replace(pinned, files=files) for files in groups)
    ]


def _grouped(files: Sequence[PinnedFile], size: int) -> Iterator[tuple[PinnedFile, ...]]:
    """Files that begin within the same ``size`` bytes of the input go together."""
    group: list[PinnedFile] = []
    before = place = 0
    for file in files:
        if group and before // size != place:
            yield tuple(group)
            group = []
        place = before // size
        group.append(file)
        before += file.size_bytes
    yield tuple(group)


def planned(lake: LakeLocation, run: Run, units: Sequence[Unit], at: datetime) -> list[Unit]:
    """The run's units as its first attempt planned them, or these, stored for every later attempt."""
    plan = sorted(_rows(lake, run.run_id, PLANNED), key=lambda row: row["unit"])
    if not plan:
        rows = [_row(run, unit, PLANNED, at) for unit in units]
        delta.append_values(rows, lake, UNITS, f"{run.transaction()}:units")
        plan = sorted(_rows(lake, run.run_id, PLANNED), key=lambda row: row["unit"])
    whole = replace(units[0].pinned, files=())
    files = [file for unit in units for file in unit.pinned.files]
    by_name = {name_in(whole, file.path): file for file in files}
    return [
        Unit(
            row["unit"],
            replace(whole, files=tuple(by_name[name] for name in row["files"])),
            row["expected_rows"],
        )
        for row in plan
    ]


def count(lake: LakeLocation, run: Run) -> int:
    """How many units the run was cut into; 0 before it was."""
    return len(_rows(lake, run.run_id, PLANNED))


def has_lost_commits(lake: LakeLocation, run: Run, predictions: str) -> bool:
    """Whether a table was restored to a version from before what this run committed to it."""
    quarantine, scored = Commits.of(lake, QUARANTINE.name), Commits.of(lake, predictions)
    units = range(count(lake, run))
    return quarantine.lost(run.transaction()) or any(
        scored.lost(run.transaction(number)) for number in units
    )


def failures(lake: LakeLocation, run: Run) -> dict[str, int]:
    """By transaction, the failed rows of the units that are recorded as committed."""
    return {row["transaction"]: row["failed"] for row in _rows(lake, run.run_id, DONE)}


def too_large(lake: LakeLocation, computed_with: str) -> int | None:
    """The least cost of a call that ran out of memory in any run's unit that was computed so."""
    mine = [("computed_with", "=", computed_with), ("state", "=", DONE)]
    found = [row["too_large"] for row in delta.values(lake, UNITS, mine)]
    return min(filter(None, found), default=None)


def finished(
    lake: LakeLocation,
    run: Run,
    unit: Unit,
    name: str,
    seconds: float,
    at: datetime,
    **counted: Any,
) -> None:
    """Record that a unit was committed as ``name``, with its counts; once."""
    row = _row(run, unit, DONE, at) | {
        **counted,
        "files": [],
        "transaction": name,
        "seconds": round(seconds, 3),
        "application": run.application,
    }
    delta.append_values([row], lake, UNITS, f"{name}:done")


def _row(run: Run, unit: Unit, state: str, at: datetime) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "job": run.job,
        "unit": unit.number,
        "state": state,
        "files": [name_in(unit.pinned, file.path) for file in unit.pinned.files],
        "bytes": unit.pinned.size_bytes,
        "expected_rows": unit.expected_rows,
        "at": at,
    }


def _rows(lake: LakeLocation, run_id: str, state: str) -> list[dict[str, Any]]:
    return delta.values(lake, UNITS, [("run_id", "=", run_id), ("state", "=", state)])

"""The runs of a lake for people: one line a run at any terminal width, ids as short as they are unique."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from millrace.pipelines.console import output
from millrace.pipelines.console.formatting import NONE, count, duration, rough
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query.lake_reader import LakeReader

_LEAST = 4  # characters of the fingerprint that a short id has
# What a narrow terminal goes without, the first first; `millrace show` and --json have all of it.
_DROPPED = ("read", "time", "failed", "when")
_GAP = 2  # columns that a table puts between two of ours


def print_runs(lake: LakeLocation, now: datetime, width: int | None = None) -> None:
    """Print the runs of a lake, the newest first."""
    runs = LakeReader(lake).runs("SELECT * FROM runs_current ORDER BY at DESC, run_id")
    lines = [_line(run, short, now) for run, short in zip(runs, short_ids(runs), strict=True)]
    names = fitting(lines, width or shutil.get_terminal_size().columns)
    output.print_lines(names, lines)


def short_ids(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """By run, the shortest beginning of its id that no other run has: `show` and `report` take it."""
    known = sorted(run["run_id"] for run in runs)
    found = {}
    for at, run_id in enumerate(known):
        near = known[max(0, at - 1) : at] + known[at + 1 : at + 2]
        shared = max((_shared(run_id, other) for other in near), default=0)
        found[run_id] = shared + 1
    return [
        run["run_id"][: max(found[run["run_id"]], len(run["job"]) + 1 + _LEAST)] for run in runs
    ]


def fitting(lines: Sequence[Mapping[str, str]], width: int) -> list[str]:
    """The columns that have room side by side."""
    names = list(lines[0]) if lines else ["run"]
    for dropped in ("", *_DROPPED):
        names = [name for name in names if name != dropped]
        widest = (max(len(name), *(len(line[name]) for line in lines)) for name in names)
        if sum(widest) + _GAP * len(names) <= width:
            break
    return names


def ago(at: datetime, now: datetime) -> str:
    """How long ago, in the largest unit of which there is one."""
    seconds = max(0, int((now - at).total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return "just now"


def _line(run: Mapping[str, Any], short: str, now: datetime) -> dict[str, str]:
    at = run["at"] if run["at"].tzinfo else run["at"].replace(tzinfo=UTC)
    cost: Decimal | None = run["cost"]
    return {
        "run": short,
        "state": run["state"],
        "when": ago(at, now),
        "read": count(run["rows_read"]),
        "scored": count(run["scored"]),
        "quarantined": count(run["quarantined"]),
        "failed": count(run["failed"]),
        "time": NONE if run["wall_s"] is None else duration(run["wall_s"]),
        "cost": NONE if cost is None else f"{rough(cost)} {run['currency']}",
    }


def _shared(one: str, other: str) -> int:
    """How many characters two ids begin with alike."""
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))

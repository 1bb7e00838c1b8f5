"""What a lake no longer needs, by kind: each finder yields what can go, with the reason.

A claim says whether a driver still writes a file. Where there is no claim, the age of the file decides.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from millrace.pipelines.lake import delta, run_lock, store_guarantees
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.lake.lock_holder import FREE, Holder
from millrace.pipelines.lake.runs import DONE
from millrace.schemas.errors import UsageError
from millrace.schemas.figures import BEGINS
from millrace.schemas.tables import CALIBRATIONS, RUNS

Claims = Mapping[str, tuple[str, Holder | None]]  # as `claim.holders` gives them
_COLUMNS = ["run_id", "event", "fingerprint", "state", "at", "pinned_input", "model_digest"]


@dataclass(frozen=True)
class Leftover:
    """A file or folder that nothing needs; ``fingerprint`` is the claim under which it is removed."""

    kind: str  # scratch, claim, model, log or data
    path: Path
    bytes: int
    why: str
    fingerprint: str = ""


@dataclass(frozen=True)
class KnownRun:
    """A run of the runs table: its events in their order, and whether a driver holds it now."""

    run_id: str
    events: Sequence[dict[str, Any]]
    is_held: bool

    @property
    def last(self) -> dict[str, Any]:
        """Its latest event."""
        return self.events[-1]

    def longest(self, now: datetime) -> timedelta:
        """Its longest attempt; of one without an end only what lasts still can be known."""
        ends = [*self.events[1:], *([{"state": "now", "at": now}] if self.is_held else [])]
        return max(
            (
                end["at"] - begin["at"]
                for begin, end in zip(self.events, ends, strict=False)
                if begin["state"] in BEGINS and end["state"] not in BEGINS
            ),
            default=timedelta(0),
        )


def runs(lake: LakeLocation, claimed: set[str]) -> list[KnownRun]:
    """Return every run of the lake; ``claimed`` are the keys of claims that a driver holds."""
    found: dict[str, list[dict[str, Any]]] = {}
    for event in sorted(
        delta.values(lake, RUNS, columns=_COLUMNS), key=lambda event: event["event"]
    ):
        found.setdefault(event["run_id"], []).append(event)
    return [
        KnownRun(name, of, run_lock.key(of[-1]["fingerprint"]) in claimed)
        for name, of in found.items()
    ]


def scratch(lake: LakeLocation, runs: Sequence[KnownRun], before: datetime) -> Iterator[Leftover]:
    """Scratch folders of runs that nobody holds, and of none that is known where they are old."""
    known = {run.run_id: run for run in runs}
    for path in _in(lake.staging):
        run = known.get(path.name)
        if run and not run.is_held:
            why = f"its run is {run.last['state']}, and no driver holds it"
            yield Leftover("scratch", path, _size(path), why, run.last["fingerprint"])
        elif not run and _changed(path) < before:
            yield Leftover("scratch", path, _size(path), "of no run that is known, and old")


def claims(
    lake: LakeLocation, runs: Sequence[KnownRun], claims: Claims, before: datetime
) -> Iterator[Leftover]:
    """Claims of runs that are done, and of none that is known where they are old."""
    known = {run_lock.key(run.last["fingerprint"]) for run in runs}
    unfinished = {
        run_lock.key(run.last["fingerprint"]) for run in runs if run.last["state"] != DONE
    }
    for name, (state, holder) in claims.items():
        path = lake.claims / name
        if state == FREE and name not in unfinished and (name in known or _changed(path) < before):
            why = "its run is done" if name in known else "of no run that is known, and old"
            yield Leftover("claim", path, _size(path), why, _of(holder) or name)


def models(lake: LakeLocation, runs: Sequence[KnownRun], before: datetime) -> Iterator[Leftover]:
    """Conversions of models that neither a calibration nor an unfinished run names."""
    named = {
        row["model_digest"] for row in delta.values(lake, CALIBRATIONS, columns=["model_digest"])
    }
    named |= {run.last["model_digest"] for run in runs if run.last["state"] != DONE}
    for path in _in(lake.models):
        if not any(digest.startswith(path.name) for digest in named) and _changed(path) < before:
            yield Leftover("model", path, _size(path), "no calibration names its model")


def logs(lake: LakeLocation, before: datetime) -> Iterator[Leftover]:
    """Event logs that an application left unfinished, where this machine can tell that it ended."""
    if not store_guarantees.guarantee(
        str(lake)
    ).safe:  # an application of another machine may write there
        return
    old = [path for path in _in(lake.logs) if path.suffix == ".inprogress"]
    used = _open_files() if old else set()
    for path in old:
        if _changed(path) < before and path.resolve() not in used:
            yield Leftover("log", path, _size(path), "its application ended without closing it")


def data(lake: LakeLocation, runs: Sequence[KnownRun], older_than: timedelta) -> Iterator[Leftover]:
    """Data files that no version within the retention names, nor one that an unfinished run reads."""
    pins = [json.loads(run.last["pinned_input"]) for run in runs if run.last["state"] != DONE]
    for path in _in(lake.root):
        if not lake.has_table(path.name):
            continue
        needed = [pin["version"] for pin in pins if _overlap(path, Path(pin["root"]))]
        if None in needed:  # read as plain files: which of them, the run's own plan knows
            continue
        # A file that was removed twice, as with a deletion vector, is there twice.
        for name in dict.fromkeys(_unnamed(path, older_than, needed)):
            file = path / unquote(name)
            file = file if file.exists() else path / name
            # Not by delta-rs: its commits would make a new version of what other jobs have pinned.
            if file.suffix == ".parquet" and file.exists():
                yield Leftover("data", file, _size(file), "in no version that is kept")


def _unnamed(path: Path, older_than: timedelta, needed: list[int]) -> list[str]:
    try:
        table = DeltaTable(str(path))
        own = "delta.deletedFileRetentionDuration" in table.metadata().configuration
        hours = int(older_than / timedelta(hours=1))
        return table.vacuum(
            hours, dry_run=True, full=True, enforce_retention_duration=own, keep_versions=needed
        )
    except DeltaError as error:
        raise UsageError(
            f"table {path.name} cannot be vacuumed at that age",
            got=str(error)[:500],
            next="--older-than with more",
        ) from error


def _in(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _overlap(one: Path, other: Path) -> bool:
    one, other = one.resolve(), other.resolve()
    return one.is_relative_to(other) or other.is_relative_to(one)


def _of(holder: Holder | None) -> str:
    return holder.fingerprint if holder else ""


def _changed(path: Path) -> datetime:
    """When anything in there last changed."""
    return datetime.fromtimestamp(
        max((one.st_mtime for one in _stats(path)), default=time.time()), UTC
    )


def _size(path: Path) -> int:
    return sum(one.st_size for one in _stats(path) if stat.S_ISREG(one.st_mode))


def _stats(path: Path) -> list[os.stat_result]:
    """The path and all in it; what vanishes meanwhile is left out, and shows in its folder's time."""
    found = []
    below = (Path(at) / name for at, folders, files in os.walk(path) for name in (*folders, *files))
    for one in (path, *below):
        with suppress(FileNotFoundError):
            found.append(one.lstat())
    return found


def _open_files() -> set[Path]:
    """What the processes of this machine have open, as far as this user may know."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # another user's, or it ended
            for link in (process / "fd").iterdir():
                with suppress(OSError):
                    found.add(link.readlink())
    return found

"""Find and remove what a lake no longer needs. `garbage` says what that is, by kind.

The retention must be longer than the longest attempt of any run, since only their age tells Delta's
uncommitted files from orphans. The age of a live run counts too, so that a clock set ahead removes nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from millrace.pipelines.lake import garbage, run_lock
from millrace.pipelines.lake.garbage import Leftover
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.lake.lock_holder import HELD
from millrace.schemas.errors import ClaimHeld, RunFailed, UsageError


@dataclass(frozen=True)
class Vacuumed:
    """The leftovers of a lake, and those that could not be removed, with the reason."""

    found: tuple[Leftover, ...]
    is_removed: bool  # False: the leftovers were listed only
    failed: Mapping[Path, str]

    @property
    def leftovers(self) -> list[Leftover]:
        """The leftovers that can go, or went."""
        return [one for one in self.found if one.path not in self.failed]

    @property
    def size_bytes(self) -> int:
        """The size of those leftovers."""
        return sum(one.bytes for one in self.leftovers)

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        rows = [
            {"kind": one.kind, "path": str(one.path), "bytes": one.bytes, "why": one.why}
            for one in self.leftovers
        ]
        left = {str(path): why for path, why in self.failed.items()}
        return {"removed": self.is_removed, "bytes": self.size_bytes, "found": rows, "left": left}


def vacuum(
    lake: LakeLocation,
    older_than: timedelta,
    *,
    remove: bool,
    lease: run_lock.LeaseTimes = run_lock.LEASE,
) -> Vacuumed:
    """List the leftovers of a lake and, with ``remove``, delete them. Raises UsageError."""
    found = find_leftovers(lake, older_than, lease)
    failed = remove_leftovers(lake, found, lease) if remove else {}
    return Vacuumed(tuple(found), remove, failed)


def find_leftovers(
    lake: LakeLocation, older_than: timedelta, lease: run_lock.LeaseTimes = run_lock.LEASE
) -> list[Leftover]:
    """Return everything in the lake that can go. Nothing is removed.

    Raises UsageError where there is no lake, or where some run's attempt was longer than the age.
    """
    if not lake.exists:
        raise UsageError("no lake there", got=str(lake), next="name the folder of output.path")
    now = datetime.now(UTC)
    claims = run_lock.holders(lake, lease)
    claimed = {key for key, (state, _) in claims.items() if state == HELD}
    runs = garbage.runs(lake, claimed)
    for run in runs:
        if run.longest(now) >= older_than:
            raise UsageError(
                "files of a run that is at work could be older than that",
                got=f"{_hours(older_than)}; run {run.run_id} took {_hours(run.longest(now))}",
                allowed="an age above that of every run's longest attempt",
                next="--older-than with more",
            )
    before = now - older_than
    return [
        *garbage.scratch(lake, runs, before),
        *garbage.claims(lake, runs, claims, before),
        *garbage.models(lake, runs, before),
        *garbage.logs(lake, before),
        *garbage.data(lake, runs, older_than),
    ]


def remove_leftovers(
    lake: LakeLocation, found: Sequence[Leftover], lease: run_lock.LeaseTimes = run_lock.LEASE
) -> dict[Path, str]:
    """Remove leftovers, and return those that remain, with the reason.

    Files of a run are removed under its claim, so that no driver can start the run meanwhile.
    """
    failed = {}
    for one in found:
        claim = (
            run_lock.claimed(lake, one.fingerprint, "vacuum", lease=lease, forget=True)
            if one.fingerprint
            else nullcontext()
        )
        try:
            with claim:
                if one.kind == "claim":
                    continue  # the claim made here removes its file
                if one.path.is_dir():
                    shutil.rmtree(one.path)
                else:
                    one.path.unlink(missing_ok=True)
                    one.path.with_name(f".{one.path.name}.crc").unlink(missing_ok=True)  # Hadoop's
        except (ClaimHeld, RunFailed, OSError) as error:
            failed[one.path] = str(error)
    for folder in (lake.staging, lake.claims, lake.models):
        with suppress(OSError):  # not empty, or not there
            folder.rmdir()
    return failed


def _hours(age: timedelta) -> str:
    return f"{age / timedelta(hours=1):,.1f} h"

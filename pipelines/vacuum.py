"""``millrace vacuum``: finds what a lake no longer needs, and removes it when told to.

The retention must be longer than the longest attempt of any run, since Delta's uncommitted files are
told from orphans by their age. A live run's own age counts, so that a clock set ahead removes nothing.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pipelines import claim, console, leftovers
from pipelines.holder import HELD
from pipelines.leftovers import Leftover
from schemas.errors import ClaimHeld, RunFailed, UsageError


def age(text: str) -> timedelta:
    """``36h`` or ``7d`` as a time. Raises UsageError."""
    if not (found := re.fullmatch(r"([1-9]\d{0,4})([dh])", text.strip())):
        raise UsageError("not an age", got=text, allowed="days or hours: 7d, 36h")
    return timedelta(**{{"d": "days", "h": "hours"}[found[2]]: int(found[1])})


def find(lake: Path, older_than: timedelta, lease: claim.Lease = claim.LEASE) -> list[Leftover]:
    """Everything in the lake that can go. Nothing is removed.

    Raises UsageError where there is no lake, or where some run's attempt was longer than the age.
    """
    if not lake.is_dir():
        raise UsageError("no lake there", got=str(lake), next="name the folder of output.path")
    now = datetime.now(UTC)
    claims = claim.holders(lake, lease)
    held = {key for key, (state, _) in claims.items() if state == HELD}
    runs = leftovers.runs(lake, held)
    for run in runs:
        if run.longest(now) >= older_than:
            raise UsageError(
                "files of a run that is at work could be older than that",
                got=f"{_told(older_than)}; run {run.run_id} took {_told(run.longest(now))}",
                allowed="an age above that of every run's longest attempt",
                next="--older-than with more",
            )
    before = now - older_than
    return [
        *leftovers.scratch(lake, runs, before),
        *leftovers.claims(lake, runs, claims, before),
        *leftovers.models(lake, runs, before),
        *leftovers.logs(lake, before),
        *leftovers.data(lake, runs, older_than),
    ]


def remove(
    lake: Path, found: Sequence[Leftover], lease: claim.Lease = claim.LEASE
) -> dict[Path, str]:
    """Remove what `find` found; what was left there after all, with the reason.

    What belongs to a run is removed under its claim, so that no driver can begin with it meanwhile.
    """
    left = {}
    for one in found:
        under = (
            claim.claimed(lake, one.fingerprint, "vacuum", lease=lease, forget=True)
            if one.fingerprint
            else nullcontext()
        )
        try:
            with under:
                if one.kind == "claim":
                    continue  # forgotten with the claim that is made here
                if one.path.is_dir():
                    shutil.rmtree(one.path)
                else:
                    one.path.unlink(missing_ok=True)
                    one.path.with_name(f".{one.path.name}.crc").unlink(missing_ok=True)  # Hadoop's
        except (ClaimHeld, RunFailed, OSError) as error:
            left[one.path] = str(error)
    for folder in (lake / "_staging", lake / "_claims", lake / "_models"):
        with suppress(OSError):  # not empty, or not there
            folder.rmdir()
    return left


def command(lake: Path, older_than: str, *, yes: bool, as_json: bool) -> None:
    """Print what can go and, with ``yes``, remove it. Raises UsageError."""
    found = find(lake, age(older_than))
    left = remove(lake, found) if yes else {}
    rows = [
        {"kind": one.kind, "path": str(one.path), "bytes": one.bytes, "why": one.why}
        for one in found
        if one.path not in left
    ]
    total = sum(one.bytes for one in found if one.path not in left)
    if as_json:
        told = {str(path): why for path, why in left.items()}
        console.print_json({"removed": yes, "bytes": total, "found": rows, "left": told})
        return
    if rows:
        console.print_rows(list(rows[0]), rows)
    for path, why in left.items():
        console.echo(f"left {path}: {why}")
    end = (
        "removed" if yes else "nothing was removed: --yes does it" if rows else "nothing to remove"
    )
    console.echo(f"files and folders: {len(rows):,}; bytes: {total:,}; {end}")


def _told(age: timedelta) -> str:
    return f"{age / timedelta(hours=1):,.1f} h"

"""One driver a fingerprint: a claim in the lake, renewed by a heartbeat, which expires without it.

Claim n of a fingerprint is ``_claims/<fingerprint>/<n>.json``, made only where there is none; the
largest n counts. No decision reads a wall clock: a holder on this machine is dead when its process
is gone, any other when its beat did not change for a lease on the watcher's own monotonic clock. The
lease saves work; that nothing is committed twice is the doing of Delta's transaction ids.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.lake.lock_holder import (
    FREE,
    HELD,
    WATCHED,
    ClaimWatcher,
    Holder,
    latest,
    me,
    read,
)
from millrace.schemas.errors import ClaimHeld, ClaimLost, RunFailed


@dataclass(frozen=True)
class LeaseTimes:
    """How often a holder beats, and how long a still beat is waited for."""

    expires_s: float = 60.0
    beat_s: float = 5.0
    is_on: bool = True  # off only to prove that a test of the race bites


LEASE = LeaseTimes()


@dataclass(frozen=True)
class Claim:
    """A claim that this process made."""

    folder: Path
    holder: Holder
    lease: LeaseTimes

    def check(self) -> None:
        """Raise ClaimLost where another driver took over; a driver asks before each commit."""
        if self.lease.is_on and not self.is_ours():
            after = latest(self.folder)
            raise ClaimLost(
                "this driver was silent for so long that another took its run over",
                got=after[0].description if after else "the claim is gone",
                next="let the other driver finish: what this one has committed stays",
            )

    def is_ours(self) -> bool:
        """Whether this claim is the latest."""
        found = latest(self.folder)
        return found is not None and found[0].token == self.holder.token


@contextmanager
def claimed(
    lake: LakeLocation,
    fingerprint: str,
    run_id: str,
    *,
    watch: Callable[[str], None] = lambda _: None,
    lease: LeaseTimes = LEASE,
    forget: bool = False,
) -> Iterator[Claim]:
    """The claim of a fingerprint, released at the end; ``forget`` then removes every trace of it.

    ``watch`` gets a line while the claim is awaited, and when the heartbeat cannot be written: the run
    continues then, and loses its claim only if another driver takes it. Raises ClaimHeld, or
    RunFailed where the lake cannot be written.
    """
    folder = _folder(lake) / key(fingerprint)
    try:
        claim = _taken(folder, fingerprint, run_id, watch, lease)
    except OSError as error:
        raise RunFailed(
            "the run cannot be claimed",
            got=str(error),
            allowed="a lake that this process can write",
            next=f"see {folder}, then run the job again",
        ) from error
    done = threading.Event()
    heart = threading.Thread(target=_beats, args=(claim, done, watch), daemon=True)
    heart.start()
    try:
        yield claim
    finally:
        done.set()
        heart.join(
            lease.beat_s
        )  # no longer: a write may hang, and beats after the release are idle
        try:
            _release(claim, forget=forget)
        except OSError as error:
            watch(f"  the claim cannot be released: {error}; it expires in {lease.expires_s:g} s")


def key(fingerprint: str) -> str:
    """The name of a fingerprint's folder of claims."""
    return fingerprint[:32]


def holders(lake: LakeLocation, lease: LeaseTimes = LEASE) -> dict[str, tuple[str, Holder | None]]:
    """By `key`, whether each claim is FREE or HELD, and its latest holder.

    Claims that neither ended nor beat are watched, all together, for a lease at most.
    """
    watches = [ClaimWatcher(path, lease.expires_s) for path in sorted(_folder(lake).glob("[!.]*"))]
    while True:
        found = {watch.folder.name: watch.look() for watch in watches}
        if all(state != WATCHED for state, _ in found.values()):
            return found
        watches[0].pause()


def _folder(lake: LakeLocation) -> Path:
    return lake.claims


def _taken(
    folder: Path, fingerprint: str, run_id: str, watch: Callable[[str], None], lease: LeaseTimes
) -> Claim:
    watching, is_reported = ClaimWatcher(folder, lease.expires_s), False
    while True:
        state, before = watching.look()
        if state == FREE or before is None or not lease.is_on:
            mine = me(before.number + 1 if before else 1, fingerprint, run_id)
            if _put(folder, mine, before):
                return Claim(folder, mine, lease)
        elif state == HELD:
            raise ClaimHeld(
                "another driver is at work on this run",
                got=before.description,
                allowed="one driver at a time for one job on one input",
                next=f"wait for it, or stop process {before.pid} on {before.host} and run again",
            )
        else:
            if not is_reported:
                watch(
                    f"  {before.description}: waiting {lease.expires_s:g} s at most for a sign of it"
                )
            is_reported = True
            watching.pause()


def _put(folder: Path, mine: Holder, before: Holder | None) -> bool:
    """Whether this claim was made, and nothing had changed since ``before`` was seen."""
    folder.mkdir(parents=True, exist_ok=True)
    draft, path = folder / f".{mine.token}.tmp", folder / f"{mine.number}.json"
    try:
        with draft.open("w") as file:
            file.write(mine.as_json())
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)  # fails where there is one
    except (FileExistsError, FileNotFoundError):  # another was quicker, or the folder was removed
        return False
    finally:
        draft.unlink(missing_ok=True)
    # Who stood still since the look may have found a number free again that was taken meanwhile: then
    # the claim before it is gone, since `_release` removes them in their order.
    found = latest(folder)
    if found and found[0] == mine and (before is None or read(folder, before.number) == before):
        return True
    path.unlink(missing_ok=True)
    return False


def _beats(claim: Claim, done: threading.Event, watch: Callable[[str], None]) -> None:
    path, count, is_reported = claim.holder.mark(claim.folder, "beat"), 0, False
    draft = path.with_name(f"{path.name}.tmp")
    while not done.wait(claim.lease.beat_s):
        count += 1
        try:
            if claim.lease.is_on and not claim.is_ours():
                return
            draft.write_text(str(count))
            draft.replace(path)
        except OSError as error:  # a full disk may have room again: the next beat tries
            if not is_reported:
                watch(f"  the heartbeat cannot be written: {error}; another driver may take over")
            is_reported = True


def _release(claim: Claim, *, forget: bool) -> None:
    """Let the next one in, and leave no more than this last claim behind."""
    if not claim.is_ours():
        return
    folder, holder = claim.folder, claim.holder
    if forget:
        gone = folder.with_name(f".{holder.token}")
        folder.rename(gone)  # at once: nobody finds half of it
        shutil.rmtree(gone)
        return
    for path in sorted(folder.iterdir(), key=lambda path: _number(path.name)):
        if _number(path.name) < holder.number:
            path.unlink(missing_ok=True)
    holder.mark(folder, "released").touch()
    holder.mark(folder, "beat").unlink(missing_ok=True)


def _number(name: str) -> int:
    """The number of the claim that a file belongs to; 0 for a draft that a dead process left."""
    digits = name.split("-", maxsplit=1)[0].split(".", maxsplit=1)[0]
    return int(digits) if digits.isdigit() else 0

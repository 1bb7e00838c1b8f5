"""Fencing of a run: the scratch files of its driver, and whether the driver still holds the claim."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from millrace.pipelines.lake.location import LakeLocation

# A call that had found the folder ends well within this second.
_PASSES = 100
_PAUSE_S = 0.01


def _remove(folder: Path) -> None:
    """Remove a folder in which calls that had found it may still make files.

    A file made after the folder was listed keeps it from being removed: then it is listed again.
    """
    for _ in range(_PASSES):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(_PAUSE_S)


def _alone() -> None:
    """What nobody else can take over is still ours."""


@dataclass(frozen=True)
class Driver:
    """A folder that no other driver writes, and who may say that another one has the run now.

    Two drivers can be at work on one run for a while: one that stood still, and the one that took its
    run over. Neither may take the other's files for its own, nor remove them while they are in use.
    """

    folder: Path
    # Asked before each commit; raises ClaimLost, or what else forbids it.
    may_commit: Callable[[], None] = _alone

    @staticmethod
    def at(
        lake: LakeLocation, run_id: str, name: str = "only", may_commit: Callable[[], None] = _alone
    ) -> Driver:
        """The driver of this name, at work on a run."""
        return Driver(lake.staging / run_id / name, may_commit)

    def only_if(self, check: Callable[[], None]) -> Driver:
        """The same driver, which asks this too before it commits."""

        def both() -> None:
            self.may_commit()
            check()

        return replace(self, may_commit=both)

    def begin(self) -> None:
        """Make the folder; remove what the run's drivers before this one left: they are dead, or fenced off.

        Workers make folders in it and never the folder itself: a late one leaves nothing behind.
        """
        _remove(self.folder.parent)
        self.folder.mkdir(parents=True, exist_ok=True)

    def end(self) -> None:
        """Remove what this driver left, also while workers whose tasks are cancelled still write."""
        ended = self.folder.with_name(f"{self.folder.name}.ended")  # no worker knows this name
        with suppress(OSError):
            self.folder.rename(ended)
        _remove(ended)
        with suppress(OSError):  # another driver, or run, is still at work there, or there was none
            self.folder.parent.rmdir()
            self.folder.parent.parent.rmdir()

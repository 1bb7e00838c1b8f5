"""Records on disk which window a task computes, for the attempt after one that died."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from types import TracebackType
from typing import Self

from millrace.schemas.errors import RunFailed
from millrace.udfs.engine.row_isolation import is_lasting

_NUMBER = struct.Struct("<q")
_FEW = 2  # deaths of one partition, from which on nothing of it is trusted


class Journal:
    """The journal of one partition's attempts; `began` is one write of eight bytes.

    The file has numbers: first the current window, counted from 1, then those at which earlier attempts
    died. It is removed when the task ends, also by an error: only a process that dies leaves it, or a
    device that must not be used again. Two copies of a task at the same time (speculation) share it: one
    may isolate a window without need.
    """

    def __init__(self, folder: Path, partition: int) -> None:
        self._path = folder / f"{partition}.window"
        self._file = -1
        self.died_at: list[int] = []  # counted from one, in order

    def began(self, window: int) -> None:
        """Record that the task computes this window, counted from 0, and may decode the next."""
        os.pwrite(self._file, _NUMBER.pack(window + 1), 0)

    def is_suspect(self, window: int) -> bool:
        """Whether an attempt died at this window, or while it decoded it.

        Spark limits the attempts of a task: after two deaths, every window from the first one on is
        suspect.
        """
        number = window + 1
        if len(self.died_at) >= _FEW:
            return number >= self.died_at[0]
        return any(died <= number <= died + 1 for died in self.died_at)

    def __enter__(self) -> Self:
        """Open the journal. Raises RunFailed where the run's folder, which the driver makes, is gone."""
        folder = self._path.parent
        try:
            folder.mkdir(exist_ok=True)
            self._file = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            raise RunFailed(
                "the run's scratch folder is not there",
                got=str(folder.parent),
                allowed="a lake on a file system that the driver and all executors share",
                next="run the job again; should it recur, mount output.path on every executor",
            ) from None
        content = os.pread(self._file, os.fstat(self._file).st_size, 0)
        now, *died = [number for (number,) in _NUMBER.iter_unpack(content)] or [0]
        self.died_at = sorted({*died, *([now] if now else [])})
        os.pwrite(self._file, b"".join(map(_NUMBER.pack, [0, *self.died_at])), 0)
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        os.close(self._file)
        if error is None or not is_lasting(error):
            self._path.unlink(missing_ok=True)

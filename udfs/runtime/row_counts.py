"""Counts the finished rows of a running task in a small file, which the driver reads."""

from __future__ import annotations

import os
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pyarrow as pa

READ, SCORED = "read", "scored"
_NUMBER = struct.Struct("<q")


class RowCount:
    """The rows of one task attempt; each change is one write of eight bytes.

    A later attempt starts at 0 in the same file. If the file cannot be written, the task continues:
    progress is no reason to fail. The folder's parent is the run's: where it is gone, so is the run.
    """

    def __init__(self, folder: Path, kind: str, stage: int, partition: int) -> None:
        self._path = folder / f"{kind}-{stage}-{partition}"
        self._file = -1
        self._computed = self._passed = 0

    def computed(self, rows: int) -> None:
        """Add rows that have outputs and are still in the task."""
        self._computed += rows
        self._write()

    def passing(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield the same batches; count each when the consumer requests the next one."""
        with self:
            for batch in batches:
                yield batch
                self._passed += batch.num_rows
                self._write()

    def __enter__(self) -> Self:
        with suppress(OSError):
            self._path.parent.mkdir(exist_ok=True)
            self._file = os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        self._write()
        return self

    def __exit__(self, *_: object) -> None:
        if self._file >= 0:
            with suppress(OSError):
                os.close(self._file)
            self._file = -1

    def _write(self) -> None:
        if self._file >= 0:
            with suppress(OSError):  # rows that equal others are passed and not computed
                os.pwrite(self._file, _NUMBER.pack(max(self._computed, self._passed)), 0)


@dataclass(frozen=True)
class Counts:
    """Rows that the tasks of a folder have finished."""

    read: int = 0
    scored: int = 0


def counts_in(folder: Path) -> Counts:
    """Return the rows of a folder's tasks; of several reading stages, those of the most advanced."""
    found: Counter[tuple[str, str]] = Counter()
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            kind, stage, _ = entry.name.split("-")
            found[kind, stage] += _number(Path(entry.path))
    most = {READ: 0, SCORED: 0}
    for (kind, _), rows in found.items():
        most[kind] = max(most[kind], rows)
    return Counts(most[READ], most[SCORED])


def _number(path: Path) -> int:
    """What a file holds; 0 where its task has only begun, or is gone."""
    try:
        content = path.read_bytes()
    except OSError:
        return 0
    return int(_NUMBER.unpack(content)[0]) if len(content) == _NUMBER.size else 0

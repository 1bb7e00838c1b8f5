"""Rows that the pinned files state of themselves, to compare with the rows that a run reads of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq
from deltalake import DeltaTable

from millrace.pipelines.lake import live_rows
from millrace.pipelines.sources.snapshot import check_unchanged, input_files, name_in
from millrace.schemas.errors import InputCorrupt
from millrace.schemas.pinned import Pinned
from millrace.schemas.sources import CsvSource, JsonSource, Source
from millrace.udfs.readers import csv_reader, json_reader
from millrace.udfs.readers.files import InputFile, locate, naming
from millrace.udfs.readers.idx_reader import idx_shape

_THREADS = 16
_SHOWN = 5


@dataclass(frozen=True)
class StatedRows:
    """What is known of the pinned input's rows without reading them all."""

    rows: int | None  # None: files of text do not state how many records they hold
    files: int
    without_rows: tuple[str, ...] = ()  # names of the files that hold none

    @property
    def notes(self) -> list[str]:
        """What a user should know of files that give no rows."""
        if not self.without_rows:
            return []
        hold = "holds" if len(self.without_rows) == 1 else "hold"
        return [f"{len(self.without_rows):,} of {self.files:,} files {hold} no rows: {self._named}"]

    @property
    def _named(self) -> str:
        more = len(self.without_rows) - _SHOWN
        return ", ".join(self.without_rows[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def stated(source: Source, pinned: Pinned) -> StatedRows:
    """Return the rows that the pinned input holds by footers, log or header, and files without rows.

    Of csv and json files only the beginnings are read. Raises InputCorrupt for a file that cannot be
    read.
    """
    if not pinned.files and source.format != "delta":
        return StatedRows(0, 0)
    rows, without = _COUNTS[source.format](source, pinned)
    return StatedRows(rows, len(pinned.files), tuple(without))


def check_read(stated: StatedRows, read: int, pinned: Pinned) -> None:
    """Raise InputCorrupt unless so many rows were read as the pinned input states."""
    if stated.rows is None or stated.rows == read:
        return
    check_unchanged(pinned)  # a file that was replaced explains it better
    raise InputCorrupt(
        f"{pinned.root}: Spark did not read the rows that the input states; nothing was scored",
        got=f"{read:,} rows",
        allowed=f"{stated.rows:,} rows, by the {_WITNESS[pinned.format]}",
        next="read one file at a time to find the one that differs, and write it anew",
    )


Counted = tuple[int | None, Sequence[str]]


def _parquet(_source: Source, pinned: Pinned) -> Counted:
    counts = _each(pinned, _footer_rows)
    return sum(counts), _where(pinned, [count == 0 for count in counts])


def _delta(_source: Source, pinned: Pinned) -> Counted:
    """The live rows of the pinned version: those of its files, less those that are deleted in them."""
    table = DeltaTable(pinned.root.replace("s3a://", "s3://", 1), version=pinned.version)
    rows = [one.rows for one in live_rows.live(table)]
    known = [count for count in rows if count is not None]
    return (sum(known) if len(known) == len(rows) else None), ()


def _images(_source: Source, pinned: Pinned) -> Counted:
    return len(pinned.files), ()


def _idx(_source: Source, pinned: Pinned) -> Counted:
    return idx_shape(input_files(pinned)[0])[0], ()


def _text(source: Source, pinned: Pinned) -> Counted:
    found = _each(pinned, lambda file: _holds_a_record(file, source))
    return None, _where(pinned, [not holds for holds in found])


def _holds_a_record(file: InputFile, source: Source) -> bool:
    if isinstance(source, CsvSource):
        return csv_reader.has_records(file, source)
    assert isinstance(source, JsonSource)  # noqa: S101 - the table below says so
    return json_reader.has_records(file, source)


def _footer_rows(file: InputFile) -> int:
    with naming(file.name):
        filesystem, inside = locate(file.path)
        rows: int = pq.read_metadata(inside, filesystem=filesystem).num_rows
    return rows


def _each(pinned: Pinned, look: Callable[[InputFile], Any]) -> list[Any]:
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(look, input_files(pinned)))


def _where(pinned: Pinned, marks: Sequence[bool]) -> list[str]:
    named = zip(pinned.files, marks, strict=True)
    return [name_in(pinned, file.path) for file, mark in named if mark]


_COUNTS: dict[str, Callable[[Source, Pinned], Counted]] = {
    "parquet": _parquet,
    "delta": _delta,
    "images": _images,
    "idx": _idx,
    "csv": _text,
    "json": _text,
}
_WITNESS = {
    "parquet": "footers of its files",
    "delta": "table's log",
    "images": "number of its files",
    "idx": "header of its file",
}

"""A small part of the input to measure with: rows from files all over it, in files of the same kind."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from millrace.pipelines.sources.snapshot import name_in, pin
from millrace.schemas.pinned import Pinned, PinnedFile
from millrace.schemas.sources import CsvSource, IdxSource, ParquetSource, Source
from millrace.udfs.readers.files import InputFile, locate, naming, opened, text_lines
from millrace.udfs.readers.idx_reader import idx_shape

_SPLIT_BYTES = 4 << 20  # Spark gives what is smaller to one task, however many wait
_PIECES_A_SLOT = 4


@dataclass(frozen=True)
class InputSample:
    """Part of an input, as a source of its own; ``share``: of the input's bytes, about."""

    source: Source
    pinned: Pinned
    share: float
    from_all_over: bool = True


@dataclass(frozen=True)
class SampleRequest:
    """What to cut: so many of the input's rows, and the columns that are read."""

    rows: int
    of_rows: int
    columns: tuple[str, ...]
    slots: int


def cut(source: Source, pinned: Pinned, request: SampleRequest, folder: Path) -> InputSample:
    """About ``request.rows`` rows of the input, written below ``folder``; all of it where it has no more.

    Raises InputCorrupt, naming the file that cannot be read.
    """
    if request.rows >= request.of_rows:
        return InputSample(source, pinned, 1.0)
    return CUTS[pinned.format](source, pinned, request, folder)


def spread(items: Sequence[Any], count: int) -> list[Any]:
    """So many of the items, or all, evenly from the first to the last."""
    count = min(count, len(items))
    return [items[int((at + 0.5) * len(items) / count)] for at in range(count)]


def pieces(pinned: Pinned, slots: int) -> int:
    """Files of a slice: as many tasks read it as read the input, up to a few a slot."""
    return max(
        1, min(_PIECES_A_SLOT * slots, max(len(pinned.files), pinned.size_bytes // _SPLIT_BYTES))
    )


def _cut_parquet(
    _source: Source, pinned: Pinned, request: SampleRequest, folder: Path
) -> InputSample:
    wanted = pieces(pinned, request.slots)
    files = spread(pinned.files, wanted)
    each = math.ceil(request.rows / wanted)
    share = 0.0
    folder.mkdir(parents=True)
    for number in range(wanted):
        file = files[number * len(files) // wanted]
        nth, of = number - _first(number, len(files), wanted), math.ceil(wanted / len(files))
        with naming(file.path):
            filesystem, inside = locate(file.path)
            with pq.ParquetFile(
                inside, filesystem=filesystem, coerce_int96_timestamp_unit="us"
            ) as opened_file:
                table = _rows_at(opened_file, nth / of, each, request.columns)
                whole = max(1, opened_file.metadata.num_rows)
                compression, int96 = _compression(opened_file), _has_int96(opened_file)
        pq.write_table(
            table,
            _like(pinned, file, folder) / f"part-{number:04}.parquet",
            compression=compression,
            use_deprecated_int96_timestamps=int96,
        )
        share += table.num_rows / whole * file.size_bytes / max(1, pinned.size_bytes)
    made = ParquetSource(format="parquet", path=str(folder))
    return InputSample(made, pin(made), share)


def _like(pinned: Pinned, file: PinnedFile, folder: Path) -> Path:
    """The folder of a piece: below ``folder`` as the file is in the input, since names hold columns."""
    made = folder / Path(name_in(pinned, file.path)).parent
    made.mkdir(parents=True, exist_ok=True)
    return made


def _first(number: int, files: int, wanted: int) -> int:
    """The first piece that is cut from the same file."""
    at = number * files // wanted
    return next(one for one in range(number + 1) if one * files // wanted == at)


def _rows_at(file: pq.ParquetFile, place: float, rows: int, columns: Sequence[str]) -> pa.Table:
    """Rows from a place of the file on, 0 its beginning; of the row group there and those after it."""
    groups, schema = file.metadata.num_row_groups, file.schema_arrow
    names = [name for name in columns if name in schema.names]
    if not groups:
        return schema.empty_table().select(names)
    start = int(place * file.metadata.num_rows)
    before = group = 0
    while before + file.metadata.row_group(group).num_rows <= start and group < groups - 1:
        before += file.metadata.row_group(group).num_rows
        group += 1
    read = file.iter_batches(
        batch_size=max(1, rows), row_groups=list(range(group, groups)), columns=names
    )
    skip, found, have = start - before, list[pa.RecordBatch](), 0
    for batch in read:
        part = batch.slice(min(skip, batch.num_rows), rows - have)
        skip, have = max(0, skip - batch.num_rows), have + part.num_rows
        found.append(part)
        if have >= rows:
            break
    return pa.Table.from_batches(found) if found else schema.empty_table().select(names)


def _compression(file: pq.ParquetFile) -> str:
    groups = file.metadata.num_row_groups
    name: str = file.metadata.row_group(0).column(0).compression.lower() if groups else "snappy"
    return "none" if name == "uncompressed" else name


def _has_int96(file: pq.ParquetFile) -> bool:
    columns = (file.schema.column(at) for at in range(len(file.schema)))
    return any(column.physical_type == "INT96" for column in columns)


def _cut_text(source: Source, pinned: Pinned, request: SampleRequest, folder: Path) -> InputSample:
    """The beginnings of files: a record may span lines, so only there a file can be read from."""
    assert hasattr(source, "encoding")  # noqa: S101 - csv and json have one
    files = spread(pinned.files, pieces(pinned, request.slots))
    header = 1 if isinstance(source, CsvSource) and source.header is True else 0
    each = math.ceil(request.rows / len(files)) + header
    folder.mkdir(parents=True)
    for number, file in enumerate(files):
        suffix = "".join(Path(file.path).suffixes[-2:])
        lines = text_lines(_input(file), source.encoding)
        text = "".join(line.text for line in islice(lines, each))
        data = text.encode(source.encoding, "surrogateescape")
        with pa.output_stream(
            str(_like(pinned, file, folder) / f"part-{number:04}{suffix}"), "detect"
        ) as out:
            out.write(data)
    made = source.model_copy(update={"path": str(folder)})
    share = request.rows / request.of_rows
    return InputSample(made, pin(made), share, from_all_over=len(files) > 1)


def _cut_idx(source: Source, pinned: Pinned, request: SampleRequest, folder: Path) -> InputSample:
    assert isinstance(source, IdxSource)  # noqa: S101 - the table below says so
    folder.mkdir(parents=True)
    made = []
    for number, file in enumerate(pinned.files):
        shape = idx_shape(_input(file))
        suffix = ".gz" if file.path.endswith(".gz") else ""
        path = folder / f"part-{number}-idx{suffix}"
        with pa.output_stream(str(path), "detect") as out:
            out.write(bytes([0, 0, 8, len(shape)]))
            out.write(struct.pack(f">{len(shape)}I", request.rows, *shape[1:]))
            for data in _idx_rows(_input(file), shape, request.rows):
                out.write(data)
        made.append(str(path))
    images, *labels = made
    source = source.model_copy(update={"path": images, "labels": labels[0] if labels else None})
    return InputSample(source, pin(source), request.rows / request.of_rows)


def _idx_rows(file: InputFile, shape: Sequence[int], rows: int) -> Iterator[bytes]:
    """Rows in equal steps from the first to the last."""
    wide, step = math.prod(shape[1:]), shape[0] / rows
    with opened(file, compression="detect") as stream:
        stream.read(4 + 4 * len(shape))
        at = 0
        for number in range(rows):
            place = int(number * step)
            while at < place:
                at += 1
                stream.read(wide)
            yield stream.read(wide)
            at += 1


def _cut_images(
    source: Source, pinned: Pinned, request: SampleRequest, _folder: Path
) -> InputSample:
    part = replace(pinned, files=tuple(spread(pinned.files, request.rows)))
    return InputSample(source, part, part.size_bytes / max(1, pinned.size_bytes))


def _input(file: PinnedFile) -> InputFile:
    return InputFile(file.path, file.path, file.size_bytes)


CUTS: dict[str, Callable[[Source, Pinned, SampleRequest, Path], InputSample]] = {
    "parquet": _cut_parquet,
    "csv": _cut_text,
    "json": _cut_text,
    "idx": _cut_idx,
    "images": _cut_images,
}

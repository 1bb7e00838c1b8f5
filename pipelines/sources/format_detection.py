"""What a path holds: its format, how its text is delimited, and the columns with their types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import TypeAdapter
from pyspark.sql import SparkSession

from pipelines.pinning import name_in
from pipelines.schema_check import columns_found
from schemas.config import CsvSource, JsonSource, Source
from schemas.contract import MALFORMED, Contract
from schemas.errors import UsageError
from schemas.pinned import Pinned
from schemas.types import arrow_type
from udfs.cells import cast_cells
from udfs.csv_file import csv_header, read_csv
from udfs.files import InputFile
from udfs.json_file import peek

FORMATS = ("parquet", "csv", "json", "delta", "images", "idx")
LOOKED_AT_ROWS = 20_000  # of text, to find the types of its columns
LINE = "line"  # the column that a text without a key gets
_SUFFIXES: dict[str, str] = {
    "parquet": "parquet", "csv": "csv", "tsv": "csv", "txt": "csv", "json": "json", "jsonl": "json",
    "ndjson": "json", "png": "images", "jpg": "images", "jpeg": "images", "ubyte": "idx", "idx": "idx",
}  # fmt: skip
_PACKED = ("gz", "bz2", "zst")
_DELIMITERS = (",", "\t", ";", "|")
# The narrowest first: what fits all texts of a column is its type.
_TYPES_OF_TEXT = ("boolean", "bigint", "double", "date", "timestamp")


def source_of(path: str, form: str | None) -> Source:
    """The source at a path, by its format or by the names there. Raises UsageError."""
    chosen = form or format_of(path)
    if chosen not in FORMATS:
        raise UsageError(
            "the format of the source is not known, and its name does not tell it",
            got=f"{path}, format {form}" if form else path,
            allowed=", ".join(FORMATS),
            next="name it: --format parquet",
        )
    parts: dict[str, Any] = {"format": chosen, "path": path}
    labels = path.replace("images-idx3", "labels-idx1")
    if chosen == "idx" and labels != path and Path(labels).is_file():
        parts["labels"] = labels
    found: Source = TypeAdapter(Source).validate_python(parts)
    return found


def format_of(path: str) -> str | None:
    """The format that the names at a path speak of; None where they do not agree."""
    place = Path(path)
    if (place / "_delta_log").is_dir():
        return "delta"
    names = [place.name]
    if place.is_dir():
        files = (p.name for p in sorted(place.rglob("*")) if p.is_file() and p.name[0] not in "._")
        names = list(islice(files, 1000))
    found = {_by_suffix(name) for name in names}
    return found.pop() if len(found) == 1 else None


def _by_suffix(name: str) -> str | None:
    if "-idx" in name:
        return "idx"
    suffixes = [part for part in name.lower().split(".")[1:] if part not in _PACKED]
    return _SUFFIXES.get(suffixes[-1]) if suffixes else None


def inputs(pinned: Pinned) -> list[InputFile]:
    """The pinned files as readers open them."""
    return [InputFile(f.path, name_in(pinned, f.path), f.size_bytes) for f in pinned.files]


def delimited(source: CsvSource, pinned: Pinned) -> CsvSource:
    """The source with the delimiter and the quote that its first file's rows agree on best."""
    if not pinned.files:
        return source
    tries = [
        source.model_copy(update={"delimiter": delimiter, "quote": quote})
        for delimiter in _DELIMITERS
        for quote in ('"', "")
    ]
    return min(tries, key=lambda one: _unfit(one, inputs(pinned)[0]))


def _unfit(source: CsvSource, file: InputFile) -> tuple[float, int, bool]:
    """How badly it fits: the share of records that do not parse, then few columns, then no quotes."""
    try:
        header = csv_header(file, source) or []
        if len(set(header)) < len(header) or not all(header):
            return 1.0, 0, True
        batch = next(_texts(source, file, header), None)
    except UsageError:
        raise
    except Exception:  # noqa: BLE001 - whatever it is, this is not how the file is delimited
        return 1.0, 0, True
    if batch is None or not batch.num_rows:
        return 0.0, -len(header), not source.quote
    bad = len(batch) - batch.column(MALFORMED).null_count
    return bad / len(batch), -len(header), not source.quote


def _texts(source: CsvSource, file: InputFile, header: list[str]) -> Iterator[pa.RecordBatch]:
    schema = pa.schema([pa.field(name, pa.string()) for name in header])
    return read_csv(file, source, schema)


def types_of(spark: SparkSession, source: Source, pinned: Pinned) -> dict[str, str]:
    """The columns and their types, by SQL name; types that no contract has are named as they are.

    Of text, its first rows are looked at. Raises UsageError where there is nothing to look at.
    """
    if not pinned.files and source.format != "delta":
        raise UsageError("the source has no files", got=pinned.root, next="correct the path")
    if isinstance(source, CsvSource):
        return _csv_types(source, inputs(pinned)[0])
    if isinstance(source, JsonSource):
        return _json_types(source, inputs(pinned)[0])
    nothing = Contract.model_validate({"columns": {"x": {"type": "string"}}})
    first = pinned if source.format == "delta" else _first_file(pinned)
    _, columns = next(iter(columns_found(spark, source, nothing, first)))
    return dict(columns)


def is_known(kind: str) -> bool:
    """Whether a contract can declare the type."""
    try:
        arrow_type(kind)
    except ValueError:
        return False
    return True


def _first_file(pinned: Pinned) -> Pinned:
    kept = pinned.files if pinned.format == "idx" else pinned.files[:1]
    return replace(pinned, files=kept)


def _csv_types(source: CsvSource, file: InputFile) -> dict[str, str]:
    header = csv_header(file, source) or []
    able = {name: list(_TYPES_OF_TEXT) for name in header}
    seen: Mapping[str, bool] = dict.fromkeys(header, False)
    rows = 0
    for batch in _texts(source, file, header):
        good = batch.filter(pc.is_null(batch.column(MALFORMED)))
        for name in header:
            texts = good.column(name).drop_null()
            seen = {**seen, name: seen[name] or len(texts) > 0}
            able[name] = [kind for kind in able[name] if _fits(texts, kind)]
        rows += len(good)
        if rows >= LOOKED_AT_ROWS:
            break
    return {name: able[name][0] if able[name] and seen[name] else "string" for name in header}


def _fits(texts: pa.Array, kind: str) -> bool:
    """Whether all texts are of the type; 007 is none: it would lose its zeros."""
    if (
        kind in ("bigint", "double")
        and pc.any(pc.match_substring_regex(texts, r"^[+-]?0[0-9]")).as_py()
    ):
        return False
    _, misfits = cast_cells(texts.to_pylist(), arrow_type(kind))
    return not misfits


def _json_types(source: JsonSource, file: InputFile) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in peek(file, source, LOOKED_AT_ROWS):
        for name, value in one.items():
            kind = _json_type(value)
            before = found.get(name, "")
            if kind and before != kind:
                found[name] = kind if not before else _wider(before, kind)
            elif not before:
                found[name] = kind
    return {name: kind or "string" for name, kind in found.items()}


def _json_type(value: Any) -> str:
    """The SQL type of a JSON value; nothing for null, and what a contract cannot have as it is."""
    simple = {bool: "boolean", int: "bigint", float: "double", str: "string", type(None): ""}
    if type(value) is list:
        inner = sorted({_json_type(one) for one in value} - {""})
        kind = inner[0] if len(inner) == 1 else _wider(*inner[:2]) if inner else ""
        return f"array<{kind}>" if kind else ""
    return simple.get(type(value), "object")


def _wider(one: str, other: str = "") -> str:
    if not other or one == other:
        return one
    numbers = {"bigint", "double"}
    if {one, other} == numbers:
        return "double"
    if {one, other} == {"array<bigint>", "array<double>"}:
        return "array<double>"
    return "mixed"

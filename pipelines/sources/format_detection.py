"""What a path holds: its format, how its text is delimited, and the columns with their types."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError
from pyspark.sql import SparkSession

from millrace.pipelines.sources import csv_detection
from millrace.pipelines.sources.column_listing import columns_found
from millrace.pipelines.sources.input_column import FOLDER, InputColumn
from millrace.pipelines.sources.snapshot import input_files
from millrace.schemas.column_path import FieldPath
from millrace.schemas.contract import Contract
from millrace.schemas.errors import UsageError
from millrace.schemas.pinned import Pinned
from millrace.schemas.sources import CsvSource, JsonSource, Source
from millrace.schemas.types import arrow_type
from millrace.schemas.yaml_errors import problems_of
from millrace.udfs.readers.files import InputFile
from millrace.udfs.readers.json_reader import peek
from millrace.udfs.runtime.picture_formats import SUFFIXES

FORMATS = ("parquet", "csv", "json", "delta", "images", "idx")
LINE = "line"  # the column that a text without a key gets
_SUFFIXES: dict[str, str] = {
    "parquet": "parquet", "csv": "csv", "tsv": "csv", "txt": "csv", "json": "json", "jsonl": "json",
    "ndjson": "json", "ubyte": "idx", "idx": "idx", **{one[1:]: "images" for one in SUFFIXES},
}  # fmt: skip
_PACKED = ("gz", "bz2", "zst")
_KINDS = {
    get_args(one.model_fields["format"].annotation)[0]: one for one in get_args(get_args(Source)[0])
}


def source_of(path: str, form: str | None, settings: Mapping[str, Any] | None = None) -> Source:
    """The source at a path, by its format or by the names there, with these settings. Raises UsageError."""
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
    kind = _KINDS[chosen]
    try:
        found: Source = kind.model_validate({**parts, **(settings or {})})
    except ValidationError as error:
        raise UsageError(
            "the settings of the source cannot be meant",
            got=problems_of(error, kind),
            next="correct --set source.KEY=VALUE",
        ) from None
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


def as_written(source: CsvSource, pinned: Pinned) -> CsvSource:
    """The source with the settings that its first file's records fit best; those it gives stay."""
    return csv_detection.settings_of(source, input_files(pinned)[0]) if pinned.files else source


def types_of(spark: SparkSession, source: Source, pinned: Pinned) -> dict[FieldPath, str]:
    """The columns and the fields of structs, with their types; types that no contract has as they are.

    Of text, its first rows are looked at. Raises UsageError where there is nothing to look at.
    """
    if not pinned.files and source.format != "delta":
        raise UsageError("the source has no files", got=pinned.root, next="correct the path")
    if isinstance(source, CsvSource):
        return {
            (name,): kind
            for name, kind in csv_detection.types_of(source, input_files(pinned)[0]).items()
        }
    if isinstance(source, JsonSource):
        return _json_types(source, input_files(pinned)[0])
    nothing = Contract.model_validate({"columns": {"x": {"type": "string"}}})
    first = pinned if source.format == "delta" else _first_file(pinned)
    _, columns = next(iter(columns_found(spark, source, nothing, first)))
    return dict(_leaves(columns, ()))


def _leaves(columns: Iterable[InputColumn], above: FieldPath) -> Iterator[tuple[FieldPath, str]]:
    for one in columns:
        if one.fields:
            yield from _leaves(one.fields, (*above, one.name))
        else:
            yield (*above, one.name), "string" if one.kind == FOLDER else one.kind


def is_known(kind: str) -> bool:
    """Whether a contract can declare the type."""
    try:
        arrow_type(kind)
    except ValueError:
        return False
    return True


def _first_file(pinned: Pinned) -> Pinned:
    first_files = pinned.files if pinned.format == "idx" else pinned.files[:1]
    return replace(pinned, files=first_files)


def _json_types(source: JsonSource, file: InputFile) -> dict[FieldPath, str]:
    found: dict[FieldPath, str] = {}
    for one in peek(file, source, csv_detection.LOOKED_AT_ROWS):
        for path, value in _values(one, ()):
            kind, before = _json_type(value), found.get(path, "")
            found[path] = kind if not before else _wider(before, kind) if kind else before
    # What is an object in some records and something else in others is neither.
    both = [
        path for path, kind in found.items() if kind and any(_is_inside(p, path) for p in found)
    ]
    found |= dict.fromkeys(both, "mixed")
    empty = {path for path in found if any(_is_inside(path, other) for other in both)}
    empty |= {path for path in found if any(_is_inside(other, path) for other in found)} - {*both}
    return {path: kind or "string" for path, kind in found.items() if path not in empty}


def _values(value: dict[str, Any], above: FieldPath) -> Iterator[tuple[FieldPath, Any]]:
    for name, inner in value.items():
        if type(inner) is dict:
            yield from _values(inner, (*above, name))
        else:
            yield (*above, name), inner


def _is_inside(path: FieldPath, other: FieldPath) -> bool:
    return len(path) > len(other) and path[: len(other)] == other


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

"""Declared columns against those that every file has: missing or retyped is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyspark.sql import SparkSession

from millrace.pipelines.sources.column_listing import columns_found, columns_in_log
from millrace.pipelines.sources.csv_hints import hint_for
from millrace.pipelines.sources.input_column import ANY, FOLDER, InputColumn, InputColumns, tree
from millrace.pipelines.sources.partition_columns import check_folders
from millrace.pipelines.sources.snapshot import input_files
from millrace.schemas.column_path import Origin, paths
from millrace.schemas.contract import Contract
from millrace.schemas.errors import SchemaMismatch
from millrace.schemas.nearest import nearest
from millrace.schemas.pinned import Pinned
from millrace.schemas.sources import CsvSource, DeltaSource, Source
from millrace.schemas.types import sql_type
from millrace.udfs.readers.folder_columns import misfit


@dataclass(frozen=True)
class _Comparison:
    declared: str
    found: str
    verdict: str  # empty: as declared


def check_schema(spark: SparkSession, source: Source, contract: Contract, pinned: Pinned) -> None:
    """Nothing, when every pinned file has every declared column with its declared type.

    Raises SchemaMismatch with both schemas side by side, naming the file; InputCorrupt, naming the
    file, when its schema cannot be read. Columns that are not declared are allowed.
    """
    check_folders(pinned, contract)
    _check(columns_found(spark, source, contract, pinned), source, contract, pinned)


def check_names(source: DeltaSource, contract: Contract, pinned: Pinned) -> None:
    """Raise SchemaMismatch where the table's log has no column that is declared; types are Spark's to say."""
    _check([columns_in_log(pinned)], source, contract, pinned)


def _check(
    listed: Iterable[tuple[str, InputColumns]], source: Source, contract: Contract, pinned: Pinned
) -> None:
    bad = []
    for name, found in listed:
        rows = _compare(contract, found)
        if any(row.verdict for row in rows):
            bad.append((name, rows + _extra(contract, found)))
    if not bad:
        return
    name, rows = bad[0]
    others = [other for other, _ in bad[1:]]
    more = f"; also {len(others)} more: {', '.join(others[:5])}" if others else ""
    raise SchemaMismatch(
        f"{name}: the columns are not those that the contract declares{more}",
        got="both schemas, side by side\n" + _table(rows),
        allowed="every declared column with its declared type; more columns may be there",
        next=_hint(source, contract, pinned, name)
        or "change contract.columns in the job file, or repair the input",
    )


def _hint(source: Source, contract: Contract, pinned: Pinned, name: str) -> str | None:
    if not isinstance(source, CsvSource) or source.header is not True:
        return None
    (file,) = [file for file in input_files(pinned) if file.name == name]
    names = [origin.name for one, origin in contract.origins.items() if one != source.line]
    return hint_for(file, source, names)


def _compare(contract: Contract, found: InputColumns) -> list[_Comparison]:
    rows = []
    for name, spec in contract.columns.items():
        kind, origin = contract.arrow_schema.field(name).type, contract.origins[name]
        there, alike = _there(origin, found)
        declared = f"{name} {sql_type(kind)}" + (f", from: {origin.name}" if spec.origin else "")
        verdict = _verdict(kind, there, alike, is_nullable=spec.nullable)
        if not there and not alike:
            verdict += _meant(origin, found)
        seen = f"{origin.name} {there[0].kind}" if there else ""
        rows.append(_Comparison(declared, seen, verdict))
    return rows


def _there(origin: Origin, found: InputColumns) -> tuple[InputColumns, list[str]]:
    """The columns that an origin names: one, if all is well; and those that differ in case alone."""
    path = origin.resolve(tree(found))
    folded = Origin(origin.name.lower(), origin.is_path).resolve(_folded(tree(found)))
    level, alike, exact = [("", column) for column in found], list[str](), ""
    there: InputColumns = []
    for name in path or folded or ():
        named = [
            (before + one.name, one) for before, one in level if one.name.lower() == name.lower()
        ]
        exact = f"{exact}.{name}" if exact else name
        alike = (
            [*alike, *(at for at, _ in named if at != exact)] if path else [at for at, _ in named]
        )
        there = [one for at, one in named if path and at == exact]
        level = [(f"{at}.", field) for at, one in named for field in one.fields]
    return there, alike


def _folded(columns: Mapping[str, Any]) -> dict[str, Any]:
    """The tree in small letters; of names that differ in case alone, the fields of all."""
    made: dict[str, Any] = {}
    for name, fields in columns.items():
        made[name.lower()] = made.get(name.lower(), {}) | _folded(fields)
    return made


def _meant(origin: Origin, found: InputColumns) -> str:
    """What may be meant by a column that the input does not have."""
    every = list(paths(tree(found)))
    plain = {_plain(path.rpartition(".")[2]): path for path in reversed(every)}
    plain |= {_plain(path): path for path in every}
    near = plain.get(_plain(origin.name)) or nearest(origin.name, every)
    return f"; if it is {near!r}, set from: {json.dumps(near, ensure_ascii=False)}" if near else ""


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _verdict(kind: pa.DataType, there: InputColumns, alike: list[str], *, is_nullable: bool) -> str:
    if not there:
        return "missing" + (f": only the case differs from {', '.join(alike)}" if alike else "")
    if alike:
        return f"ambiguous: only the case differs from {', '.join(alike)}"
    if len(there) > 1:
        where = ", once as a folder's name" if FOLDER in {column.kind for column in there} else ""
        return f"there {len(there)} times{where}"
    if there[0].kind == FOLDER:
        why = misfit(there[0].text, kind)
        return f"retyped: {why}" if why else ""
    return _retyped(sql_type(kind), there[0], is_nullable=is_nullable)


def _retyped(declared: str, column: InputColumn, *, is_nullable: bool) -> str:
    """Why the column cannot be read as the declared type; empty where it can, and nothing is lost."""
    kind, form = column.kind, column.form
    if form == "null":
        return "" if is_nullable else "nothing but null, and declared nullable: false"
    if kind == f"{declared} in ns":
        return "retyped: nanoseconds inside of another type; write the file with microseconds"
    if form == "nanoseconds" and declared == "bigint":
        return ""  # as they are in the file
    if column.finer and declared == kind:
        return f"retyped: {column.finer} values are finer than a microsecond; declare bigint to get them"
    is_instant = form == "int96" or (form == "julian" and declared == "timestamp_ntz")
    if is_instant and declared.replace("timestamp_ntz", "timestamp") == kind:
        return ""
    return "" if kind in {declared, ANY} else "retyped"


def _extra(contract: Contract, found: InputColumns) -> list[_Comparison]:
    read = [origin.resolve(tree(found)) or (origin.name,) for origin in contract.origins.values()]
    heads = {path[0] for path in read}
    others = [column for column in found if column.name not in heads]
    return [_Comparison("", f"{column.name} {column.kind}", "") for column in others]


def _table(rows: list[_Comparison]) -> str:
    cells = [("declared", "found", "verdict")]
    for row in rows:
        found = row.found.removesuffix(f" {ANY}")
        verdict = row.verdict or ("ok" if row.declared else "not declared: allowed")
        cells.append((row.declared or "-", found or "-", verdict))
    widths = [max(len(cell[column]) for cell in cells) for column in (0, 1)]
    return "\n".join(f"    {a:<{widths[0]}} | {b:<{widths[1]}} | {c}" for a, b, c in cells)

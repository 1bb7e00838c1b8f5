"""Declared columns against those that every file has: missing or retyped is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import SparkSession
from pyspark.sql.pandas.types import to_arrow_schema

from pipelines.pinning import name_in
from schemas.config import CsvSource, IdxSource, JsonSource, Source
from schemas.contract import Contract
from schemas.errors import InputCorrupt, SchemaMismatch
from schemas.pinned import Pinned
from schemas.types import sql_type
from udfs.csv_file import csv_header
from udfs.files import InputFile, locate, naming
from udfs.json_file import peek

IMAGES_SCHEMA = pa.schema([pa.field("path", pa.string()), pa.field("content", pa.binary())])
_PEEKED_LINES = 64
_THREADS = 16
_ANY = "any"  # a type that a file does not say: csv text, a JSON null

Found = list[tuple[str, str]]  # the columns of one file: name, SQL type


@dataclass(frozen=True)
class _Row:
    declared: str
    found: str
    verdict: str  # empty: as declared


def check_schema(spark: SparkSession, source: Source, contract: Contract, pinned: Pinned) -> None:
    """Nothing, when every pinned file has every declared column with its declared type.

    Raises SchemaMismatch with both schemas side by side, naming the file; InputCorrupt, naming the
    file, when its schema cannot be read. Columns that are not declared are allowed.
    """
    bad = []
    for name, found in columns_found(spark, source, contract, pinned):
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
        next="change contract.columns in the job file, or repair the input",
    )


def columns_found(
    spark: SparkSession, source: Source, contract: Contract, pinned: Pinned
) -> Iterable[tuple[str, Found]]:
    """Name and columns of every file that says anything about its columns."""
    if source.format == "delta":
        reader = spark.read.format("delta").option("versionAsOf", str(pinned.version))
        columns = _columns(to_arrow_schema(reader.load(pinned.root).schema))
        return [(f"{pinned.root} at version {pinned.version}", columns)]
    if isinstance(source, IdxSource):
        columns = [("index", "bigint"), ("pixels", "binary")]
        return [(pinned.root, columns + ([("label", "int")] if source.labels else []))]
    if source.format == "images":
        return [(pinned.root, _columns(IMAGES_SCHEMA))]
    files = [InputFile(f.path, name_in(pinned, f.path), f.size_bytes) for f in pinned.files]
    with ThreadPoolExecutor(_THREADS) as pool:
        looked = list(pool.map(lambda file: _look(file, source, contract), files))
    return [
        (file.name, found) for file, found in zip(files, looked, strict=True) if found is not None
    ]


def _look(file: InputFile, source: Source, contract: Contract) -> Found | None:
    if isinstance(source, CsvSource):
        header = csv_header(file, source)
        return None if header is None else _numbered([(name, _ANY) for name in header], source.line)
    if isinstance(source, JsonSource):
        found = _json_columns(peek(file, source, _PEEKED_LINES), contract)
        return None if found is None else _numbered(found, source.line)
    return _columns(parquet_schema(file))


def _numbered(found: Found, line: str | None) -> Found:
    """The columns with that of the line numbers, which the reader adds itself."""
    others = [(name, kind) for name, kind in found if name != line]
    return others if line is None else [*others, (line, "bigint")]


def parquet_schema(file: InputFile) -> pa.Schema:
    """The schema in a Parquet footer. Raises InputCorrupt, naming the file, when there is none."""
    with naming(file.name):
        filesystem, inside = locate(file.path)
        try:
            return pq.read_schema(inside, filesystem=filesystem)
        except pa.ArrowInvalid as error:
            raise InputCorrupt(
                f"{file.name}: not a whole Parquet file",
                got=f"{file.size_bytes} bytes; {error}",
                next="restore the file from its origin, or remove it from source.path",
            ) from None


def _columns(schema: pa.Schema) -> Found:
    return [(field.name, _type_name(field.type)) for field in schema]


def _type_name(kind: pa.DataType) -> str:
    if pa.types.is_dictionary(kind):
        return _type_name(kind.value_type)
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return f"{sql_type(kind)} in ns"  # Spark fails on these in Parquet: say so before the run
    return sql_type(kind)


def _compare(contract: Contract, found: Found) -> list[_Row]:
    rows = []
    for name in contract.columns:
        declared = sql_type(contract.arrow_schema.field(name).type)
        types = [kind for other, kind in found if other == name]
        alike = [other for other, _ in found if other.lower() == name.lower() and other != name]
        there = f"{name} {types[0]}" if types else ""
        verdict = _verdict(declared, types, alike)
        rows.append(_Row(f"{name} {declared}", there, verdict))
    return rows


def _verdict(declared: str, types: list[str], alike: list[str]) -> str:
    if not types:
        return "missing" + (f": only the case differs from {alike[0]}" if alike else "")
    if len(types) > 1:
        return f"there {len(types)} times"
    if types[0] == f"{declared} in ns":
        return "retyped: Spark cannot read nanoseconds; write the file with microseconds"
    return "" if types[0] in {declared, _ANY} else "retyped"


def _extra(contract: Contract, found: Found) -> list[_Row]:
    rows = [(name, kind) for name, kind in found if name not in contract.columns]
    return [_Row("", name if kind == _ANY else f"{name} {kind}", "") for name, kind in rows]


def _table(rows: list[_Row]) -> str:
    cells = [("declared", "found", "verdict")]
    for row in rows:
        found = row.found.removesuffix(f" {_ANY}")
        verdict = row.verdict or ("ok" if row.declared else "not declared: allowed")
        cells.append((row.declared or "-", found or "-", verdict))
    widths = [max(len(cell[column]) for cell in cells) for column in (0, 1)]
    return "\n".join(f"    {a:<{widths[0]}} | {b:<{widths[1]}} | {c}" for a, b, c in cells)


def _json_columns(objects: list[dict[str, Any]], contract: Contract) -> Found | None:
    """What the first objects say: a column is there when one has it, or when it may be absent."""
    if not objects:
        return None
    names = list(dict.fromkeys(name for one in objects for name in one))
    found = []
    for name in names:
        values = [one[name] for one in objects if one.get(name) is not None]
        found.append((name, _json_type(name, values, contract)))
    absent = [n for n, spec in contract.columns.items() if n not in names and spec.nullable]
    alike = {name.lower() for name in names}  # a key in another case is a rename, not an absence
    return found + [(name, _ANY) for name in absent if name.lower() not in alike]


def _json_type(name: str, values: list[Any], contract: Contract) -> str:
    spec = contract.columns.get(name)
    if not values:
        return _ANY
    if spec is not None:
        kind = contract.arrow_schema.field(name).type
        if any(type(value) in _json_kinds(kind) for value in values):
            return sql_type(kind)
    return _JSON_NAMES[type(values[0])]


_JSON_NAMES: dict[type, str] = {
    bool: "boolean",
    int: "bigint",
    float: "double",
    str: "string",
    list: "array",
    dict: "struct",
}
_JSON_KINDS: list[tuple[Callable[[pa.DataType], bool], set[type]]] = [
    (pa.types.is_boolean, {bool}),
    (pa.types.is_integer, {int}),
    (pa.types.is_floating, {int, float, Decimal}),
    (pa.types.is_decimal, {int, float, Decimal}),
    (pa.types.is_list, {list}),
    (pa.types.is_struct, {dict}),
]


def _json_kinds(kind: pa.DataType) -> set[type]:
    """The Python types of the JSON values that may stand for the type."""
    return next((kinds for matches, kinds in _JSON_KINDS if matches(kind)), {str})

"""The columns that each file of an input has, by its header, footer or first objects."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable
from pyspark.sql import SparkSession
from pyspark.sql.pandas.types import to_arrow_schema

from millrace.pipelines.sources.csv_hints import names_by_place
from millrace.pipelines.sources.input_column import ANY, FOLDER, InputColumn, InputColumns
from millrace.pipelines.sources.json_columns import json_columns
from millrace.pipelines.sources.parquet_footer import ParquetColumn, finer_than_micros, footer
from millrace.pipelines.sources.partition_columns import folders_of
from millrace.pipelines.sources.snapshot import input_files, name_in
from millrace.schemas.column_path import FieldPath
from millrace.schemas.contract import Contract
from millrace.schemas.pinned import Pinned, PinnedFile
from millrace.schemas.sources import CsvSource, IdxSource, JsonSource, Source
from millrace.schemas.types import sql_type
from millrace.udfs.readers.csv_reader import csv_header
from millrace.udfs.readers.files import InputFile
from millrace.udfs.readers.folder_columns import folder_values
from millrace.udfs.readers.json_reader import peek

IMAGES_SCHEMA = pa.schema([pa.field("path", pa.string()), pa.field("content", pa.binary())])
_PEEKED_LINES = 64
_THREADS = 16


def columns_found(
    spark: SparkSession, source: Source, contract: Contract, pinned: Pinned
) -> Iterable[tuple[str, InputColumns]]:
    """Name and columns of every file that says anything about its columns."""
    if source.format == "delta":
        reader = spark.read.format("delta").option("versionAsOf", str(pinned.version))
        columns = _columns(to_arrow_schema(reader.load(pinned.root).schema))
        return [(_table_name(pinned), columns)]
    if isinstance(source, IdxSource):
        columns = [InputColumn("index", "bigint"), InputColumn("pixels", "binary")]
        return [(pinned.root, columns + ([InputColumn("label", "int")] if source.labels else []))]
    if source.format == "images":
        return _image_columns(pinned)
    if source.format == "parquet":
        return _parquet_columns(pinned, contract)
    files = input_files(pinned)
    with ThreadPoolExecutor(_THREADS) as pool:
        looked = list(pool.map(lambda file: _look(file, source, contract), files))
    return [
        (file.name, found + _in_folders(pinned, file.name))
        for file, found in zip(files, looked, strict=True)
        if found is not None
    ]


def columns_in_log(pinned: Pinned) -> tuple[str, InputColumns]:
    """Name and columns of a Delta table by its log alone, without their types."""
    schema = json.loads(DeltaTable(pinned.root, pinned.version).schema().to_json())
    return _table_name(pinned), list(_in_log(schema))


def _table_name(pinned: Pinned) -> str:
    return f"{pinned.root} at version {pinned.version}"


def _in_log(struct: Mapping[str, Any]) -> tuple[InputColumn, ...]:
    """The fields of a struct as the log of a Delta table writes it."""
    return tuple(
        InputColumn(
            one["name"], ANY, fields=_in_log(one["type"]) if "fields" in one["type"] else ()
        )
        for one in struct["fields"]
    )


def _image_columns(pinned: Pinned) -> list[tuple[str, InputColumns]]:
    """By folder: all of its files have the same columns."""
    names = [name_in(pinned, file.path) for file in pinned.files]
    inside = {name.rpartition("/")[0]: name for name in reversed(names)}
    own = _columns(IMAGES_SCHEMA)
    found = [
        (folder or pinned.root, own + _in_folders(pinned, name)) for folder, name in inside.items()
    ]
    return found or [(pinned.root, own)]


def _in_folders(pinned: Pinned, name: str) -> InputColumns:
    """The columns that the folders of a file name."""
    return [InputColumn(one, FOLDER, text=text) for one, text in folders_of(pinned, name).items()]


def _look(file: InputFile, source: Source, contract: Contract) -> InputColumns | None:
    """The columns of a text file; None where it says nothing of them."""
    if isinstance(source, CsvSource):
        inside = folder_values(file.name)
        names = source.names(n for n, o in contract.origins.items() if o.name not in inside)
        header = csv_header(file, source) if names is None else names_by_place(file, source, names)
        columns = None if header is None else [InputColumn(name, ANY) for name in header]
        return None if columns is None else _numbered(columns, source.line)
    assert isinstance(source, JsonSource)  # noqa: S101 - the other formats have no text files
    found = json_columns(peek(file, source, _PEEKED_LINES), contract)
    inside = folder_values(file.name)
    present = [
        column for column in found or () if column.form != "absent" or column.name not in inside
    ]
    return None if found is None else _numbered(present, source.line)


def _numbered(found: InputColumns, line: str | None) -> InputColumns:
    """The columns with that of the line numbers, which the reader adds itself."""
    if line is None:
        return found
    others = [column for column in found if column.name.lower() != line.lower()]
    return [*others, InputColumn(line, "bigint")]


def _parquet_columns(pinned: Pinned, contract: Contract) -> list[tuple[str, InputColumns]]:
    """By file. One without rows has no value of another type, and speaks only where no file has rows."""

    def look(file: PinnedFile) -> tuple[int, str, InputColumns]:
        name = name_in(pinned, file.path)
        parquet = footer(file, name)
        places = [parquet.place(origin) for origin in contract.origins.values()]
        # Nanoseconds of declared columns are counted: Spark's types do not hold them.
        finer = {
            place.path: finer_than_micros(file, name, place.path)
            for place in places
            if place.form == "nanoseconds"
        }
        columns = [_stored(column, finer, (column.name,)) for column in parquet.columns]
        return parquet.rows, name, columns + _in_folders(pinned, name)

    with ThreadPoolExecutor(_THREADS) as pool:
        looked = list(pool.map(look, pinned.files))
    has_rows = any(rows for rows, _, _ in looked)
    return [(name, found) for rows, name, found in looked if rows or not has_rows]


def _stored(column: ParquetColumn, finer: Mapping[FieldPath, int], path: FieldPath) -> InputColumn:
    """The column of a Parquet file, or the field at this path of one."""
    fields = tuple(_stored(one, finer, (*path, one.name)) for one in column.fields)
    kind = _type_name(column.type)
    return InputColumn(column.name, kind, column.form, finer.get(path, 0), fields=fields)


def _columns(schema: Iterable[pa.Field]) -> InputColumns:
    return [
        InputColumn(
            field.name,
            _type_name(field.type),
            fields=tuple(_columns(field.type)) if pa.types.is_struct(field.type) else (),
        )
        for field in schema
    ]


def _type_name(kind: pa.DataType) -> str:
    return f"{sql_type(kind)} in ns" if "timestamp[ns" in str(kind) else sql_type(kind)

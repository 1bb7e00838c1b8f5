"""Parquet files to DataFrames: columns as the contract declares them, whichever form files have."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import reduce

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DataType

from millrace.pipelines.sources import partition_columns
from millrace.pipelines.sources.parquet_footer import ColumnLocation, Form, footer
from millrace.pipelines.sources.snapshot import name_in
from millrace.pipelines.sources.spark_reading import (
    column_at,
    escaped_paths,
    nullable_schema,
    strict_reader,
)
from millrace.schemas.column_path import FieldPath
from millrace.schemas.contract import Contract
from millrace.schemas.pinned import Pinned, PinnedFile
from millrace.schemas.sources import ParquetSource
from millrace.schemas.types import sql_type

_THREADS = 16


def read_parquet(
    spark: SparkSession, _source: ParquetSource, contract: Contract, pinned: Pinned
) -> DataFrame:
    """The declared columns of Parquet files, which are read together where they have the same forms.

    Files without rows are not opened: what they have no values of has no type that could be wrong.
    """
    alike: dict[tuple[ColumnLocation, ...], list[PinnedFile]] = {}
    with ThreadPoolExecutor(_THREADS) as pool:
        footers = list(pool.map(lambda f: footer(f, name_in(pinned, f.path)), pinned.files))
    for file, file_footer in zip(pinned.files, footers, strict=True):
        if file_footer.rows:
            places = tuple(file_footer.place(origin) for origin in contract.origins.values())
            alike.setdefault(places, []).append(file)
    frames = [
        _parquet_of(spark, contract, places, replace(pinned, files=tuple(files)))
        for places, files in alike.items()
    ]
    empty = spark.createDataFrame([], nullable_schema(contract.arrow_schema))
    return reduce(DataFrame.union, frames) if frames else empty


def _parquet_of(
    spark: SparkSession, contract: Contract, places: tuple[ColumnLocation, ...], pinned: Pinned
) -> DataFrame:
    """The declared columns of files that have them all at these places."""
    stored: dict[FieldPath, pa.DataType] = {}
    columns, values = list[Column](), list[Column]()
    in_folders = partition_columns.declared(pinned, contract)
    for at, (field, place) in enumerate(zip(contract.arrow_schema, places, strict=True)):
        kind, convert = _reading(field, place)
        column = f"c{at}"  # no name of the input's in an expression: Spark fills in ${...} there
        if field.name in in_folders:  # as text: Spark's own guess would make 7 of 007
            kind, convert = pa.string(), None
        if kind is None:
            columns.append(F.lit(None).alias(column))
        else:
            stored[place.path] = kind
            columns.append(column_at(place.path).alias(column))
        value = F.col(column) if convert is None else F.expr(convert.format(column))
        is_other = kind is None or field.name in in_folders
        values.append((value.cast(_spark_type(field)) if is_other else value).alias(field.name))
    # Of files that do not say how they count days before 1582: as SQL does, independent of the session.
    reader = strict_reader(spark).option("int96RebaseMode", "CORRECTED")
    reader = reader.option("datetimeRebaseMode", "CORRECTED")
    if in_folders:
        reader = reader.option("basePath", pinned.root)
    schema = nullable_schema(pa.schema(_fields(stored)))
    read_columns: DataFrame = reader.schema(schema).parquet(*escaped_paths(pinned))
    return read_columns.select(*columns).select(*values)


def _reading(field: pa.Field, place: ColumnLocation) -> tuple[pa.DataType | None, str | None]:
    """Return the type as which Spark reads a column, and its value where that is another.

    None as the type stands for a column that Spark does not read.
    """
    if place.form == "null":
        return None, None
    form = place.form
    if form == "int96" and len(place.path) > 1:  # its struct has one type, whoever else reads it
        form = "julian"
    return _READINGS.get((form, _time_type(field.type)), (field.type, None))


def _fields(stored: Mapping[FieldPath, pa.DataType]) -> list[pa.Field]:
    """Return the columns that hold what is read at these paths, with no other fields in their structs."""
    made = []
    for head in dict.fromkeys(path[0] for path in stored):
        inside = {path[1:]: kind for path, kind in stored.items() if path[0] == head}
        whole = inside.get(())
        made.append(pa.field(head, pa.struct(_fields(inside)) if whole is None else whole))
    return made


def _spark_type(field: pa.Field) -> DataType:
    return nullable_schema(pa.schema([field]))[0].dataType


def _time_type(kind: pa.DataType) -> str:
    return sql_type(kind) if pa.types.is_timestamp(kind) else ""


_TO_NTZ = "timestampadd(MICROSECOND, {}, timestamp_ntz'1970-01-01 00:00:00')"
# By form and declared type, where Spark cannot read the one as the other: what it reads, and the value.
_READINGS: dict[tuple[Form, str], tuple[pa.DataType | None, str | None]] = {
    ("nanoseconds", "timestamp"): (pa.int64(), "timestamp_micros({} div 1000)"),
    ("nanoseconds", "timestamp_ntz"): (pa.int64(), _TO_NTZ.format("{} div 1000")),
    ("julian", "timestamp_ntz"): (pa.timestamp("us", "UTC"), _TO_NTZ.format("unix_micros({})")),
}

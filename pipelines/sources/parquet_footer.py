"""Parquet footers as Spark reads them: the type of each column, and what reading it takes."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from millrace.schemas.column_path import FieldPath, Origin
from millrace.schemas.errors import InputCorrupt
from millrace.schemas.pinned import PinnedFile
from millrace.udfs.readers.files import locate, naming

# plain: Spark reads the column as its type. int96: it does, as timestamp or as timestamp_ntz. julian:
# INT96 whose writer counted old days by the Julian calendar; Spark converts them for timestamp alone.
# nanoseconds: Spark reads bigint alone. null: a column of nothing but null, without a type of its own.
# absent: of JSON, a key that no object had yet.
Form = Literal["plain", "int96", "julian", "nanoseconds", "null", "absent"]

_SPARK_VERSION = b"org.apache.spark.version"
_JULIAN_BEFORE = b"3.1.0"  # compared as text, as Spark itself does
_JULIAN_MARK = b"org.apache.spark.legacyINT96"
_NANOS_A_MICRO = 1000
_UNSIGNED: dict[
    pa.DataType, pa.DataType
] = {  # what Spark, which has signed integers alone, makes of them
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.decimal128(20, 0),
}


@dataclass(frozen=True)
class ParquetColumn:
    """A column or field: the type that Spark gives it, and the form in which the file has it."""

    name: str
    type: pa.DataType
    form: Form
    fields: tuple[ParquetColumn, ...] = ()  # of a struct


class ColumnLocation(NamedTuple):
    """Where a file has a declared column, with the type and form that it has there."""

    path: FieldPath
    form: Form = "plain"
    type: pa.DataType | None = None  # None: the file does not have it


@dataclass(frozen=True)
class Footer:
    """What a Parquet file says of itself."""

    rows: int
    columns: tuple[ParquetColumn, ...]

    def place(self, origin: Origin) -> ColumnLocation:
        """Return where the file has a declared column."""
        path = origin.resolve(_tree(self.columns))
        if path is None:
            return ColumnLocation((origin.name,))
        found, fields = self.columns[0], self.columns
        for name in path:
            found = next(one for one in fields if one.name == name)
            fields = found.fields
        return ColumnLocation(path, found.form, found.type)


def _tree(columns: tuple[ParquetColumn, ...]) -> Mapping[str, Any]:
    return {one.name: _tree(one.fields) for one in columns}


def footer(file: PinnedFile, name: str) -> Footer:
    """The footer of a pinned file, which messages call ``name``. A second call does not read it again.

    Raises InputCorrupt, naming the file, when it is gone or not a whole Parquet file.
    """
    return _footer(file, name)


@lru_cache(maxsize=65_536)
def _footer(file: PinnedFile, name: str) -> Footer:
    with _opened(file, name) as opened:
        is_julian = _is_julian(opened.metadata.metadata or {})
        leaves = deque(opened.schema.column(at) for at in range(len(opened.schema)))
        columns = [_stored(field, leaves, is_julian=is_julian) for field in opened.schema_arrow]
        return Footer(opened.metadata.num_rows, tuple(columns))


@lru_cache(maxsize=65_536)
def finer_than_micros(file: PinnedFile, name: str, path: FieldPath) -> int:
    """How many values at a path are nanoseconds that are no whole number of microseconds."""
    found = 0
    with _opened(file, name) as opened:
        for batch in opened.iter_batches(columns=[".".join(path)]):
            column = batch.column(path[0])
            for field in path[1:]:
                column = pc.struct_field(column, [column.type.get_field_index(field)])
            whole = column.cast(pa.int64())
            micros = pc.multiply(pc.divide(whole, _NANOS_A_MICRO), _NANOS_A_MICRO)
            found += pc.sum(pc.not_equal(micros, whole)).as_py() or 0
    return found


def _opened(file: PinnedFile, name: str) -> Any:
    with naming(name):
        filesystem, inside = locate(file.path)
        try:
            return pq.ParquetFile(inside, filesystem=filesystem)
        except pa.ArrowInvalid as error:
            raise InputCorrupt(
                f"{name}: not a whole Parquet file",
                got=f"{file.size_bytes} bytes; {error}",
                next="restore the file from its origin, or remove it from source.path",
            ) from None


def _is_julian(metadata: dict[bytes, bytes]) -> bool:
    version = metadata.get(_SPARK_VERSION)
    return version is not None and (version < _JULIAN_BEFORE or _JULIAN_MARK in metadata)


def _stored(field: pa.Field, leaves: deque[Any], *, is_julian: bool) -> ParquetColumn:
    has_int96: list[bool] = []
    fields: tuple[ParquetColumn, ...] = ()
    if pa.types.is_struct(field.type):
        own = leaves.copy()
        fields = tuple(_stored(part, own, is_julian=is_julian) for part in field.type)
    kind = _as_spark(field.type, leaves, has_int96)
    form: Form = "plain"
    if has_int96:
        form = "julian" if is_julian else "int96"
    elif pa.types.is_null(kind):
        form = "null"
    elif pa.types.is_timestamp(kind) and kind.unit == "ns":
        form, kind = "nanoseconds", pa.timestamp("us", kind.tz)
    return ParquetColumn(field.name, kind, form, fields)


def _as_spark(kind: pa.DataType, leaves: deque[Any], has_int96: list[bool]) -> pa.DataType:
    """The type that Spark gives a column; takes its leaves, and notes each that is INT96."""
    if isinstance(kind, pa.ExtensionType) or pa.types.is_dictionary(kind):
        stored = kind.storage_type if isinstance(kind, pa.ExtensionType) else kind.value_type
        return _as_spark(stored, leaves, has_int96)
    if pa.types.is_struct(kind):
        parts = [(part.name, _as_spark(part.type, leaves, has_int96)) for part in kind]
        return pa.struct(parts)
    if pa.types.is_map(kind):
        key = _as_spark(kind.key_type, leaves, has_int96)
        return pa.map_(key, _as_spark(kind.item_type, leaves, has_int96))
    if any(is_kind(kind) for is_kind in _LISTS):
        return pa.list_(_as_spark(kind.value_type, leaves, has_int96))
    if leaves.popleft().physical_type == "INT96":
        has_int96.append(True)
        return pa.timestamp("us", "UTC")
    return _UNSIGNED.get(kind, kind)


_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)

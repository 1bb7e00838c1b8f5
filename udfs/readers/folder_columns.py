"""Columns in folder names, in Hive's layout: ``dt=2024-01-01/part.parquet``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote

import pyarrow as pa

from millrace.schemas.column_path import Origin
from millrace.udfs.readers.text_values import cast_cells

_BEYOND_ASCII = re.compile("%[89a-fA-F][0-9a-fA-F]")
NULL = "__HIVE_DEFAULT_PARTITION__"


def folder_values(name: str) -> dict[str, str | None]:
    """Return the text of each column in the folders of a file, whose name is relative to the source.

    Hive's mark of NULL is None. Percent-encoded characters are decoded as UTF-8. Folders without ``=``
    have no column. Raises ValueError if two folders have the same column.
    """
    found: dict[str, str | None] = {}
    for part in name.split("/")[:-1]:
        column, equals, text = part.partition("=")
        if not equals or not column:
            continue
        column = unquote(column, errors="strict")
        if column.lower() in {one.lower() for one in found}:
            raise ValueError(f"two folders name the column {column}")
        found[column] = None if text == NULL else unquote(text, errors="strict")
    return found


def is_ascii_encoded(name: str) -> bool:
    """Whether all percent-encoded characters are ASCII: Spark decodes others byte by byte."""
    return _BEYOND_ASCII.search(name) is None


def misfit(text: str | None, kind: pa.DataType) -> str | None:
    """Return why the text is no value of the type, by the rules of a CSV cell; None if it is one."""
    if pa.types.is_nested(kind) or pa.types.is_binary(kind):
        return "folder names hold single values, not binary, arrays or structs"
    _, whys = cast_cells([text], kind)
    return whys.get(0)


def with_folders(
    batch: pa.RecordBatch, name: str, schema: pa.Schema, origins: Mapping[str, Origin]
) -> pa.RecordBatch:
    """Add the columns of ``schema`` that the file's folders have, in the schema's order.

    ``origins``: by column, its name in folders. Columns that are not in the schema come last.
    """
    values, arrays = folder_values(name), {}
    for field in schema:
        if field.name in batch.schema.names:
            arrays[field.name] = batch.column(field.name)
        else:
            one, _ = cast_cells([values[origins[field.name].name]], field.type)
            arrays[field.name] = one.take(pa.array([0] * batch.num_rows, pa.int32()))
    rest = [column for column in batch.schema.names if column not in arrays]
    return pa.RecordBatch.from_pydict(arrays | {column: batch.column(column) for column in rest})

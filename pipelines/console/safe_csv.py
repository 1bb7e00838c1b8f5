"""Rows as CSV that a spreadsheet opens without running anything."""

from __future__ import annotations

import csv
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TextIO

import pyarrow as pa

from millrace.pipelines.console.formatting import exact
from millrace.pipelines.console.strict_json import json_text

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # what a spreadsheet may take for a formula


def write(rows: pa.Table, file: TextIO) -> None:
    """A header and the rows; ``file`` is open with ``newline=""``."""
    writer = csv.writer(file)
    writer.writerow([cell(name) for name in rows.column_names])
    writer.writerows(_cells(rows))


def cell(value: Any) -> str:
    """A value as a CSV cell: numbers without exponent, times in UTC, a text never as a formula."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float | Decimal):
        return exact(value).replace(",", "")
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    text = value if isinstance(value, str) else as_json(value)
    return f"'{text}" if text.startswith(FORMULA) else text


def as_json(value: Any) -> str:
    """A value as JSON; bytes in base64, and what JSON has no type for as a text."""
    return plain(value) if isinstance(value, bytes) else json_text(value, plain, sort_keys=True)


def plain(value: Any) -> str:
    """What JSON has no type for."""
    return b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _cells(rows: pa.Table) -> Iterator[list[str]]:
    for batch in rows.to_batches(max_chunksize=10_000):
        for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            yield [cell(value) for value in values]

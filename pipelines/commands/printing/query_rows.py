"""The rows of a query as a table, CSV, JSON or Parquet."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TextIO

import pyarrow as pa

from millrace.pipelines.api.lake import Lake
from millrace.pipelines.console import output, safe_csv
from millrace.pipelines.console.strict_json import json_text
from millrace.pipelines.lake.location import LakeLocation
from millrace.schemas.errors import QueryError, UsageError

Fetch = Callable[[int | None, int], pa.Table]  # limit, None: all rows; offset


def answer(
    lake: LakeLocation,
    sql: str,
    kind: str,
    out: Path | None = None,
    page: tuple[int | None, int] = (None, 0),
) -> None:
    """Query a lake without a JVM, and write the rows as `write_rows` does. Raises QueryError."""
    found = Lake(lake)
    write_rows(lambda limit, offset: found.sql(sql, limit=limit, offset=offset), kind, out, page)


def write_rows(
    fetch: Fetch, kind: str, out: Path | None = None, page: tuple[int | None, int] = (None, 0)
) -> None:
    """Fetch rows and write them as a table, csv, json or parquet, to a file or to standard output.

    ``page``: how many rows, None: all; from which on. Raises QueryError where two columns have one name,
    and UsageError for what cannot be written.
    """
    limit, offset = page
    found = fetch(None if limit is None else limit + 1, offset)
    _refuse_equal_names(found.column_names)
    shown = found if limit is None else found.slice(0, limit)
    _write(shown, kind, out)
    if len(found) > len(shown):
        sys.stderr.write(f"there are more rows: --offset {offset + len(shown)}, or --limit N\n")


def _refuse_equal_names(names: list[str]) -> None:
    """Raise QueryError where two columns have one name: the value of the first would be lost."""
    if several := sorted({name for name in names if names.count(name) > 1}):
        raise QueryError(
            "columns of the answer share a name",
            got=", ".join(several),
            allowed="every name once",
            next="give them names with AS",
        )


def _write(found: pa.Table, kind: str, out: Path | None) -> None:
    try:
        if kind == "parquet":
            _parquet(found, out)
        elif out is None:
            _print(found, kind)
        else:
            with out.open("w", encoding="utf-8", newline="") as file:
                _TEXTS[kind](found, file)
    except OSError as error:
        raise UsageError(
            f"{out or 'standard output'} cannot be written",
            got=str(error),
            next="name a file with --out",
        ) from None


def _print(found: pa.Table, kind: str) -> None:
    """To standard output, as much as its reader wants: head has had enough before the end."""
    try:
        _TEXTS[kind](found, sys.stdout)
        sys.stdout.flush()
    except BrokenPipeError:
        with Path(os.devnull).open("w") as nowhere:  # for what is still to be flushed
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _parquet(found: pa.Table, out: Path | None) -> None:
    if out is None:
        raise UsageError("Parquet is not a text", allowed="--format parquet --out FILE")
    import pyarrow.parquet as pq

    pq.write_table(found, out)


def _table(found: pa.Table, file: TextIO) -> None:
    output.print_rows(found.column_names, found.to_pylist(), file=file)


def _json(found: pa.Table, file: TextIO) -> None:
    """One array on one line, a row an object."""
    file.write("[")
    separator = ""
    for batch in found.to_batches():
        for row in batch.to_pylist():
            file.write(separator + json_text(row, safe_csv.plain))
            separator = ", "
    file.write("]\n")


_TEXTS: Mapping[str, Callable[[pa.Table, TextIO], None]] = {
    "table": _table,
    "csv": safe_csv.write,
    "json": _json,
}

"""The sample of a model import: rows with inputs, and the predictions of the model's library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from millrace.schemas.errors import ModelError

_FLOAT32_WHOLE = 1 << 24


@dataclass(frozen=True)
class Sample:
    """Rows of a sample: the model's inputs, and its library's predictions for them."""

    inputs: pa.Table
    expected: pa.Table
    name: str


def read_sample(path: Path, expect: Sequence[str]) -> Sample:
    """Read a CSV file; ``expect`` names its columns of predictions. Raises ModelError."""
    from pyarrow import csv

    try:
        table = csv.read_csv(path)
    except pa.ArrowInvalid as error:
        raise ModelError(f"{path} is no CSV file", got=str(error)[:300]) from None
    if missing := [name for name in expect if name not in table.column_names]:
        raise ModelError(
            f"{path} has no column {', '.join(missing)}",
            allowed=", ".join(table.column_names),
            next="--expect names columns that hold the library's predictions",
        )
    names = [name for name in table.column_names if name not in expect]
    for name in names:
        kind = table.schema.field(name).type
        if not (
            pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
        ):
            raise ModelError(
                f"{path}: column {name!r} is not numeric",
                got=str(kind),
                allowed="whole numbers, fractions, booleans",
                next="leave it out, name it with --expect if it is a prediction, or encode it as the number "
                f"that the graph reads{_declared(name, kind)}",
            )
    if not table.num_rows or not names:
        raise ModelError(f"{path} has no rows to try the model with", got=f"{table.num_rows} rows")
    return Sample(table.select(names), table.select(list(expect)), path.name)


def _declared(name: str, kind: pa.DataType) -> str:
    """How the card of the imported graph declares a column that rows have as a date, a time or a text."""
    if pa.types.is_string(kind):
        type_, option = "string", f"categories: {{{name}: {{values: [...]}}}}"
    elif pa.types.is_date(kind):
        type_, option = "date", f"times: {{{name}: days}}"
    elif pa.types.is_timestamp(kind):
        type_, option = "timestamp", f"times: {{{name}: seconds}}"
    else:
        return ""
    return (
        f"; then declare it in model.yaml, as type: {type_} in signature.inputs and {option} in "
        "preprocess.options, and seal the folder: millrace model seal"
    )


def as_batch(table: pa.Table) -> pa.RecordBatch:
    """Return a table with rows as one batch."""
    (batch,) = table.combine_chunks().to_batches()
    return batch


def uncovered(sample: Sample) -> list[str]:
    """Return notes on values that no row of the sample has, and that no comparison covers."""
    columns = sample.inputs.columns
    notes = []
    if not any(column.null_count for column in columns):
        notes.append("the sample has no null: a null is an error of its row")
    whole = [c.to_numpy() for c in columns if pa.types.is_integer(c.type) and not c.null_count]
    if whole and max(int(np.abs(one).max()) for one in whole) <= _FLOAT32_WHOLE:
        notes.append("the sample has no whole number above 2^24")
    return notes

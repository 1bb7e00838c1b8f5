"""The last batch of a task, whose meter includes the time after its rows were computed.

A meter leaves with its rows, so the time after them would be lost: the time to find the end of the input,
and to hand the batch to Spark. The last batch therefore waits for the end of the input, and a large one is
sent without its last row, which takes the last reading.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from millrace.schemas.tables import METER, struct_of
from millrace.schemas.types import arrow_type
from millrace.udfs.engine.metering import joined

METER_TYPE = arrow_type(struct_of(METER))
_AT_ONCE_BYTES = 1 << 18  # buffers between Python and the JVM hold about so much: nobody waits


def cut(batch: pa.RecordBatch) -> list[pa.RecordBatch]:
    """Split off the last row of a large batch; it takes the last reading."""
    if batch.num_rows == 1 or batch.nbytes <= _AT_ONCE_BYTES:
        return [batch]
    return [batch.slice(0, batch.num_rows - 1), batch.slice(batch.num_rows - 1)]


def with_reading(batch: pa.RecordBatch, reading: dict[str, Any]) -> pa.RecordBatch:
    """Add a reading to the meter in the batch's first row."""
    first = batch.column("_meter")[0].as_py()
    whole = reading if first is None else joined(first, reading)
    at = batch.schema.get_field_index("_meter")
    return batch.set_column(at, "_meter", meter_column(whole, batch.num_rows))


def meter_column(reading: dict[str, Any], rows: int) -> pa.Array:
    """Return the column ``_meter`` of a batch: the reading in its first row."""
    return on_first_row(pa.array([reading], METER_TYPE), rows)


def on_first_row(meter: pa.Array, rows: int) -> pa.Array:
    """Return the column ``_meter`` with ``meter`` ``[1]`` in its first row, and null in the others."""
    return pa.concat_arrays([meter, pa.nulls(rows - 1, METER_TYPE)])

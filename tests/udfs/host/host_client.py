"""A client process for the tests: scores seeded rows through a host, and says how far it is."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from millrace.udfs.engine.metering import Meter, TaskAttempt
from millrace.udfs.engine.scoring import score
from millrace.udfs.host.address import HostSpec
from millrace.udfs.host.client import hosted
from millrace.udfs.models.model_loading import digest_of
from millrace.udfs.runtime.plan import Plan, Runtime

WORDS = ["good", "bad", "day", "night", "a", "the"]


def inputs(kind: str, rows: int, seed: int) -> pa.Table:
    """Images of 4 x 4 pixels, or texts of 1 to 25 words; some rows that no model can read."""
    drawn = np.random.default_rng(seed)
    if kind == "pixels":
        cells: list[object] = [drawn.bytes(16) for _ in range(rows)]
    else:
        cells = [" ".join(drawn.choice(WORDS, drawn.integers(1, 25))) for _ in range(rows)]
    cells[3::50] = [None] * len(cells[3::50])
    return pa.table({"id": range(rows), kind: cells})


def paced(batches: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Each batch after a line on stdin; all that are left once stdin is closed."""
    for batch in batches:
        sys.stdin.readline()
        yield batch


def main() -> None:
    """Score, batch after batch, into a Parquet file; each window done is a line on stdout."""
    options = json.loads(sys.argv[1])
    folder, kind = Path(options["folder"]), options["kind"]
    table = inputs(kind, options["rows"], options["seed"])
    plan = Plan(
        (kind,), ("id",), batch_rows=options["batch_rows"], window_rows=options["window_rows"]
    )
    model = hosted(folder, digest_of(folder), Runtime("cpu"), HostSpec.from_json(options["place"]))
    batches, made = table.to_batches(max_chunksize=options["window_rows"]), []
    if options.get("paced"):
        batches = paced(batches)
    for batch in score(batches, lambda: model, plan, Meter(TaskAttempt())):
        made.append(batch.drop_columns(["_meter"]))
        print(batch.num_rows, flush=True)
    pq.write_table(pa.Table.from_batches(made), options["out"])


if __name__ == "__main__":
    main()

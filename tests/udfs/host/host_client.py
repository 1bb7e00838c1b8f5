"""A client process for the tests: scores seeded rows through a host, and says how far it is."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from udfs.engine import score
from udfs.host.client import hosted
from udfs.host.place import HostPlace
from udfs.meter import Meter, Place
from udfs.models.base import digest_of
from udfs.plan import Plan, Runtime

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


def main() -> None:
    """Score, batch after batch, into a Parquet file; each window done is a line on stdout."""
    asked = json.loads(sys.argv[1])
    folder, kind = Path(asked["folder"]), asked["kind"]
    table = inputs(kind, asked["rows"], asked["seed"])
    plan = Plan((kind,), ("id",), batch_rows=asked["batch_rows"], window_rows=asked["window_rows"])
    model = hosted(folder, digest_of(folder), Runtime("cpu"), HostPlace.from_json(asked["place"]))
    made = []
    for batch in score(table.to_batches(), lambda: model, plan, Meter(Place())):
        made.append(batch.drop_columns(["_meter"]))
        print(batch.num_rows, flush=True)
    pq.write_table(pa.Table.from_batches(made), asked["out"])


if __name__ == "__main__":
    main()

"""True labels as a Delta table next to the predictions, so that accuracy is a query."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from numpy.typing import NDArray

from millrace.pipelines.lake import live_rows


def write_labels(
    path: Path, key: str, labels: NDArray[np.int64], holdout: NDArray[np.int64]
) -> bool:
    """Write Delta table ``path``: ``<key> bigint, label int, is_holdout boolean``, a row an image.

    An image's key is its position in ``labels``; ``holdout`` are the positions not trained on.
    False where the table says all of this already.
    """
    keys = np.arange(len(labels))
    table = pa.table(
        {
            key: pa.array(keys, pa.int64()),
            "label": pa.array(labels, pa.int32()),
            "is_holdout": pa.array(np.isin(keys, holdout)),
        }
    )
    if DeltaTable.is_deltatable(str(path)):
        there = live_rows.rows(DeltaTable(str(path)))
        if there.schema.names == table.schema.names and there.sort_by(key).equals(table):
            return False
    path.mkdir(parents=True, exist_ok=True)
    write_deltalake(str(path), table, mode="overwrite", schema_mode="overwrite")
    return True

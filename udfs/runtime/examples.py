"""The examples of a batch: values of the readable rows, and reasons for the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Values = NDArray[Any] | Sequence[NDArray[np.int32]]


@dataclass(frozen=True)
class Examples:
    """What a model reads: one value per readable row, and why the other rows have none."""

    values: Values  # [good, *shape], or token ids, one sequence a good row
    rows: NDArray[np.int64]  # [good]: the row of the batch that each value came from
    errors: Mapping[int, str] = field(default_factory=dict)  # row -> reason
    lengths: NDArray[np.int64] | None = None  # [good] tokens; None where all shapes are equal
    warnings: Mapping[int, str] = field(default_factory=dict)  # row -> what its output leaves out

    def take(self, index: NDArray[np.int64]) -> Values:
        """Return the values at these positions, in this order."""
        if isinstance(self.values, np.ndarray):
            first, count = int(index[0]), len(index)
            if np.array_equal(index, np.arange(first, first + count)):  # then no value is copied
                return self.values[first : first + count]
            return self.values[index]
        return [self.values[i] for i in index]


Decoder = Callable[[pa.RecordBatch], Examples]

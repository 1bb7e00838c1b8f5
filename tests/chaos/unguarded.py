"""Spark's forking server without bisection, to prove that a campaign would find what that is for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pyspark.daemon import manager

from millrace.udfs.engine.row_isolation import Computed, Predictor, cost_of, summarize_error
from millrace.udfs.runtime.examples import Examples
from millrace.udfs.worker import daemon


def whole(self: Predictor, examples: Examples, index: NDArray[np.int64], found: Computed) -> bool:
    """A batch that fails has failed, all of its rows."""
    try:
        self._call(examples, index, cost_of(examples, index), found)
    except Exception as error:  # noqa: BLE001 - whatever a model raises
        for at in index:
            self._lose(int(examples.rows[at]), summarize_error(error), found)
    return True


if __name__ == "__main__":
    daemon.preload(daemon.wanted())
    Predictor._batch = whole  # type: ignore[method-assign]
    manager()

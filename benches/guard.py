"""What guarding against bad rows costs a run that has none: the engine with its guards, and without.

  python -m benches.guard --rounds 20

Guards are the journal of windows, the watchdog of each call, and the handler that would halve a failed
batch. One process, one thread; each slice of the rows is scored both ways, which take turns at being
first, and gives a ratio of CPU times.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benches import paired
from benches.inputs import ROWS
from millrace.udfs.engine.metering import Meter, TaskAttempt
from millrace.udfs.engine.row_isolation import Computed, Predictor, cost_of
from millrace.udfs.engine.scoring import score
from millrace.udfs.models.model_loading import Model, digest_of, load
from millrace.udfs.runtime.examples import Examples
from millrace.udfs.runtime.plan import Plan, Runtime, Scorer
from millrace.udfs.worker.isolation import ProcessIsolation
from millrace.udfs.worker.journal import Journal

MOST = 1.01
SLICE = 2_000  # rows of a pair: short, so that both halves see the same machine


def _unguarded(
    self: Predictor, examples: Examples, index: NDArray[np.int64], found: Computed
) -> bool:
    self._call(examples, index, cost_of(examples, index), found)
    return True


def cpu_s(
    batches: Sequence[pa.RecordBatch], model: Model, scorer: Scorer, journal: Path | None
) -> float:
    """CPU seconds of one pass; without a ``journal`` nothing is guarded."""
    apart = ProcessIsolation(scorer, (), Journal(journal, 0)) if journal else None
    plan = scorer.plan if journal else replace(scorer.plan, batch_timeout_s=None)
    bare = mock.patch.object(Predictor, "_batch", _unguarded)
    with nullcontext() if journal else bare:
        started = time.process_time()
        for _ in score(batches, lambda: model, plan, Meter(TaskAttempt()), apart):
            pass
        return time.process_time() - started


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write ``benches/results/guard-<cpu>.json``."""
    given = paired.asked(arguments, __doc__, rows=24_000, rounds=20)
    folder = paired.digits(given.cache)
    model = load(folder, digest_of(folder), Runtime("cpu", threads=1))
    inputs = tuple(model.card.signature.inputs)
    batches = ROWS["digits"](given.rows).select(list(inputs)).to_batches(max_chunksize=SLICE)
    plan = Plan(inputs, (), 256, max_failed_rows=100, batch_timeout_s=60.0)
    scorer = Scorer(folder, digest_of(folder), Runtime("cpu", threads=1), plan, "bench", 0.0)
    with tempfile.TemporaryDirectory() as scratch:
        cpu_s(batches[:2], model, scorer, None)  # what the first pass alone has to do
        ratios = paired.compared(
            batches,
            given.rounds,
            lambda rows: cpu_s([rows], model, scorer, None),
            lambda rows: cpu_s([rows], model, scorer, Path(scratch)),
            "guarded",
        )
    paired.write(given, ("guard", "guarded"), ratios, MOST, {}, digits=4)


if __name__ == "__main__":
    main()

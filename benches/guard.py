"""What guarding against bad rows costs a run that has none: the engine with its guards, and without.

  python -m benches.guard --rounds 40

Guards are the journal of windows, the watchdog of each call, and the handler that would halve a failed
batch. One process, one thread, the same rows; the two take turns at being first, and each pair gives a
ratio of CPU times.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from statistics import median, quantiles
from unittest import mock

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benches.inputs import MODELS, ROWS
from benches.machine import cpu_model, machine, slug, versions
from udfs.decode import Examples
from udfs.engine import score
from udfs.isolate import Isolated
from udfs.journal import Journal
from udfs.meter import Meter, Place
from udfs.models.base import Model, digest_of, load
from udfs.plan import Plan, Runtime, Scorer
from udfs.poison import Computed, Predictor, cost_of

MOST = 1.01


def _unguarded(
    self: Predictor, examples: Examples, index: NDArray[np.int64], found: Computed
) -> bool:
    self._call(examples, index, cost_of(examples, index), found)
    return True


def cpu_s(
    batches: Sequence[pa.RecordBatch], model: Model, scorer: Scorer, journal: Path | None
) -> float:
    """CPU seconds of one pass; without a ``journal`` nothing is guarded."""
    apart = Isolated(scorer, (), Journal(journal, 0)) if journal else None
    plan = scorer.plan if journal else replace(scorer.plan, batch_timeout_s=None)
    bare = mock.patch.object(Predictor, "_batch", _unguarded)
    with nullcontext() if journal else bare, apart or nullcontext():
        started = time.process_time()
        for _ in score(batches, lambda: model, plan, Meter(Place()), apart):
            pass
        return time.process_time() - started


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write ``benches/results/guard-<cpu>.json``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=24_000)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--cache", type=Path, default=Path("build/bench"))
    parser.add_argument("--out", type=Path, default=Path("benches/results"))
    given = parser.parse_args(arguments)
    folder = given.cache / "models" / "digits"
    MODELS["digits"](folder)
    model = load(folder, digest_of(folder), Runtime("cpu", threads=1))
    inputs = tuple(model.card.signature.inputs)
    batches = ROWS["digits"](given.rows).select(list(inputs)).to_batches(max_chunksize=2000)
    plan = Plan(inputs, (), 256, max_failed_rows=100, batch_timeout_s=60.0)
    scorer = Scorer(folder, digest_of(folder), Runtime("cpu", threads=1), plan, "bench", 0.0)
    ratios = []
    with tempfile.TemporaryDirectory() as scratch:
        for turn in range(given.rounds):
            order = [Path(scratch), None] if turn % 2 else [None, Path(scratch)]
            spent = {bool(journal): cpu_s(batches, model, scorer, journal) for journal in order}
            ratios.append(spent[True] / spent[False])
            print(f"{turn + 1}: {spent[False]:.3f} s bare, {spent[True]:.3f} s guarded", flush=True)
    low, _, high = quantiles(ratios, n=4)
    told = {
        "rows": given.rows,
        "rounds": given.rounds,
        "guarded_to_bare": {
            "median": round(median(ratios), 4),
            "quartiles": [round(low, 4), round(high, 4)],
        },
        "most": MOST,
        "versions": versions(),
        "machine": machine(),
    }
    path = given.out / f"guard-{slug(cpu_model())}-{os.cpu_count()}cores.json"
    path.write_text(json.dumps(told, indent=2) + "\n", "utf-8")
    print(f"guarded / bare: {told['guarded_to_bare']}; written to {path.name}")


if __name__ == "__main__":
    main()

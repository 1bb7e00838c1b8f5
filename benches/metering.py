"""What the meter costs a run: the engine with the meter's clock calls, and without.

  python -m benches.metering --rounds 3

The CNN on 200,000 images in slices, one process, one thread; each slice is scored both ways, which take
turns at being first, and gives a ratio of CPU times. Without, a lap does nothing, and a reading gives
constants for the meter's column. Beside that, the clock calls of one window alone, without a model.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any

import pyarrow as pa

from benches import paired
from benches.inputs import ROWS
from millrace.schemas.tables import METER
from millrace.udfs.engine.energy_counters import zones
from millrace.udfs.engine.metering import LAPS, Meter, TaskAttempt
from millrace.udfs.engine.scoring import score
from millrace.udfs.models.model_loading import Model, digest_of, load
from millrace.udfs.runtime.plan import Plan, Runtime

MOST = 1.005
SLICE = 5_000  # rows of a pair: short, so that both halves see the same machine
ALONE = 2_000  # windows without a model
_NOUGHTS = dict.fromkeys(column.name for column in METER) | dict.fromkeys(LAPS, 0.0)


class Stopped(Meter):
    """A meter whose clocks stand still."""

    @contextmanager
    def lap(self, name: str) -> Iterator[None]:  # noqa: ARG002 - a meter's
        """Nothing but the block."""
        yield

    def take(self, *, size_bytes: int, **facts: Any) -> dict[str, Any]:
        """Noughts."""
        return _NOUGHTS | facts | {"bytes": size_bytes}


def cpu_s(batches: Sequence[pa.RecordBatch], model: Model, plan: Plan, meter: Meter) -> float:
    """CPU seconds of one pass."""
    started = time.process_time()
    for _ in score(batches, lambda: model, plan, meter):
        pass
    return time.process_time() - started


def alone_us() -> float:
    """Microseconds of a window's clock calls: each lap once, and the reading."""
    meter, spent = Meter(TaskAttempt()), []
    for _ in range(ALONE):
        started = time.perf_counter()
        for name in LAPS[1:]:
            with meter.lap(name):
                pass
        meter.take(size_bytes=0)
        spent.append(time.perf_counter() - started)
    return 1e6 * median(spent)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write ``benches/results/metering-<cpu>.json``."""
    given = paired.asked(arguments, __doc__, rows=200_000, rounds=3)
    folder = paired.digits(given.cache)
    model = load(folder, digest_of(folder), Runtime("cpu", threads=1))
    inputs = tuple(model.card.signature.inputs)
    batches = ROWS["digits"](given.rows).select(list(inputs)).to_batches(max_chunksize=SLICE)
    plan = Plan(inputs, (), 256)
    cpu_s(batches[:2], model, plan, Meter(TaskAttempt()))  # what the first pass alone has to do
    ratios = paired.compared(
        batches,
        given.rounds,
        lambda rows: cpu_s([rows], model, plan, Stopped(TaskAttempt())),
        lambda rows: cpu_s([rows], model, plan, Meter(TaskAttempt())),
        "metered",
    )
    more = {
        "reads_rapl": bool(zones()),
        "alone_us_a_window": round(alone_us(), 1),
    }
    paired.write(given, ("metering", "metered"), ratios, MOST, more, digits=5)


if __name__ == "__main__":
    main()

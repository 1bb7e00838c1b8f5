"""One variant of a model, loaded and timed on sample rows."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pyarrow as pa

from millrace.schemas.calibration import CalibrationRequest, Measurement
from millrace.udfs.calibration.tolerance import differences, within
from millrace.udfs.calibration.variants import Variant
from millrace.udfs.engine.batch_sizing import CEILING, MeasuredSizer, next_size
from millrace.udfs.engine.batching import cut
from millrace.udfs.models import model_loading
from millrace.udfs.models.model_loading import Model
from millrace.udfs.runtime.examples import Examples
from millrace.udfs.runtime.outputs import OutputBuffer, Outputs

_UNREAD = "not one row of the sample could be decoded"
COMPARED_COST = {True: 1024, False: 128}  # padded tokens, or rows, at which ways are compared


class VariantTrial:
    """One variant of a model, loaded, then timed."""

    def __init__(self, request: CalibrationRequest, variant: Variant) -> None:
        started = time.monotonic()
        self.variant = variant
        self.folder, self.digest = variant.made(request)
        self.model: Model = model_loading.opened(self.folder, self.digest, variant.runtime)
        self.load_s = round(time.monotonic() - started, 3)
        self.outputs: Outputs = {}
        self.seen = measurement(variant)

    def compare(self, sample: pa.RecordBatch, against: VariantTrial | None = None) -> Measurement:
        """Measure the rate at the common batch size, and the difference of the outputs from ``against``."""
        examples = self.model.decode(sample)
        if not len(examples.rows):
            self.seen = measurement(self.variant, why=_UNREAD)
            return self.seen
        cost = COMPARED_COST[examples.lengths is not None]
        timed_pass(self.model, first_rows(examples, 8), cost)  # allocators and kernels wake up
        spent_s, self.outputs = timed_pass(self.model, examples, cost)
        errors, is_within = self._compared(against)
        self.seen = measurement(
            self.variant,
            folder=str(self.folder),
            digest=self.digest,
            rows_per_s=round(len(examples.rows) / spent_s, 2),
            batch_cost=cost,
            load_s=self.load_s,
            errors=errors,
            within=is_within,
            why="" if is_within else "further from fp32 than the model's tolerance allows",
        )
        return self.seen

    def at_its_size(self, sample: pa.RecordBatch) -> Measurement:
        """Return the measurement with the best batch size, searched from a quarter of the common one."""
        examples = self.model.decode(sample)
        cost, is_settled = COMPARED_COST[examples.lengths is not None] // 4, False
        seconds: dict[int, float] = {}  # of a full batch
        while not is_settled:
            spent_s, _ = timed_pass(self.model, examples, cost)
            # Padding is part of the work here: in a window of thousands of rows there is little of it.
            seconds[cost] = spent_s * cost / _computed(examples, cost)
            cost, is_settled = next_size(seconds, CEILING)
        return self.seen.model_copy(update={"batch_cost": cost})

    def _compared(self, against: VariantTrial | None) -> tuple[dict[str, float], bool]:
        if against is None:
            return {}, True
        errors = differences(against.outputs, self.outputs)
        rounded = {kind: float(f"{value:.6g}") for kind, value in errors.items()}
        precision = self.variant.runtime.precision
        return rounded, within(errors, self.model.card.tolerance, precision)


def first_rows(examples: Examples, count: int) -> Examples:
    """Return the first examples."""
    index = np.arange(min(count, len(examples.rows)))
    lengths = None if examples.lengths is None else examples.lengths[index]
    return Examples(examples.take(index), index, {}, lengths)


def timed_pass(model: Model, examples: Examples, cost: int) -> tuple[float, Outputs]:
    """Compute all examples in batches of a cost; return the seconds, and the outputs in order.

    On a CPU these are CPU seconds of this process: validation and other tasks run at the same time, and must
    not count as time of the model.
    """
    on_cpu = model.device == "cpu"
    clock = time.process_time if on_cpu else time.perf_counter
    sizer = MeasuredSizer(cost, ceiling=cost, settled=True)
    count = len(examples.rows)
    made = OutputBuffer(count)
    started = clock()
    for index in cut(count, sizer, examples.lengths):
        made.put(index, model.predict(examples.take(index)), model.card.signature)
    spent_s = clock() - started
    return spent_s / (model.runtime.threads if on_cpu else 1), made.arrays


def _computed(examples: Examples, cost: int) -> int:
    """Rows, or padded tokens, that batches of a cost compute."""
    count, lengths = len(examples.rows), examples.lengths
    if lengths is None:
        return count
    sizer = MeasuredSizer(cost, ceiling=cost, settled=True)
    return sum(len(index) * int(lengths[index].max()) for index in cut(count, sizer, lengths))


def measurement(variant: Variant, **values: Any) -> Measurement:
    """Return a measurement of a variant; without ``values``, one that was not made."""
    runtime = variant.runtime
    return Measurement(backend=runtime.backend, precision=runtime.precision, **values)

"""``python -m udfs.calibrate REQUEST SAMPLE``: tries every way to compute a model, and takes the best.

A process of its own: what it imports and allocates is gone before the run computes, and a kernel that
this machine does not have kills nothing else. It prints one line of JSON after each measurement.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from schemas.calibration import Measurement, Request, chosen
from schemas.errors import MillraceError, UsageError
from udfs.allocator import keep_freed_memory
from udfs.batching import cut
from udfs.decode import Examples
from udfs.models import base
from udfs.models.base import Model
from udfs.outputs import Gathered, Outputs
from udfs.poison import withheld
from udfs.sizing import CEILING, Measured, next_size
from udfs.tolerance import differences, within
from udfs.variants import Variant, candidates, reference

# Measuring may take a tenth of what the run would take in fp32: more could not be earned back.
SHARE = 0.1
WORTH_S = 8.0  # of compute in fp32; a shorter run measures nothing but its batch size
COMPILE_WORTH_S = 600.0  # torch.compile alone takes a minute
PASS_S = 1.0  # of compute in fp32 on the rows that everything is measured with
_UNREAD = "not one row of the sample could be decoded"
_COST = {True: 1024, False: 128}  # padded tokens, or rows, at which ways are compared


def measurements(request: Request, sample: pa.RecordBatch) -> Iterator[Measurement]:
    """The reference first, then every way that the request allows and the run's length pays for.

    The last is the best of them once more, at the batch size that suits it. Where no row of the
    sample can be decoded, there is the reference alone, not measured. Raises UsageError where this
    machine has no way that the request allows.
    """
    card = base.read_card(Path(request.folder))
    there = candidates(card, request)
    if not there:
        raise UsageError(
            f"model {card.title} cannot be computed as the job asks",
            got=f"backend {request.backend}, precision {request.precision}",
            allowed="auto, or what this machine and its packages have",
            next="set engine.backend and engine.precision",
        )
    first = Trial(request, reference(card, request))
    rows = _as_many_as(PASS_S, first, sample)
    seen = [first.compare(rows)]
    yield seen[0]
    if seen[0].rows_per_s is None:
        return
    expected_s = request.expected_rows / (seen[0].rows_per_s or 1.0) / request.slots
    limit_s = SHARE * expected_s if expected_s >= WORTH_S else 0.0
    began, best = time.monotonic(), first
    others = [variant for variant in there if variant != first.variant]
    for place, variant in enumerate(others):
        is_needed = place == 0 and first.variant not in there  # the job asks for no other
        has_time = _pays(variant, expected_s) and time.monotonic() - began < limit_s
        if is_needed or has_time:
            one, trial = _measured(request, rows, variant, first)
        else:
            one, trial = _seen(variant, why=_too_short(expected_s, limit_s)), None
        seen.append(one)
        yield one
        if trial and chosen(seen, request.backend, request.precision) == len(seen) - 1:
            best = trial  # the model before it is let go
    yield best.at_its_size(rows)


class Trial:
    """One way to compute, loaded, then timed."""

    def __init__(self, request: Request, variant: Variant) -> None:
        started = time.monotonic()
        self.variant = variant
        self.folder, self.digest = variant.made(request)
        self.model: Model = base.opened(self.folder, self.digest, variant.runtime)
        self.load_s = round(time.monotonic() - started, 3)
        self.outputs: Outputs = {}
        self.seen = _seen(variant)

    def compare(self, sample: pa.RecordBatch, against: Trial | None = None) -> Measurement:
        """The rate at the size that all are compared at, and how far the outputs are from those."""
        examples = self.model.decode(sample)
        if not len(examples.rows):
            self.seen = _seen(self.variant, why=_UNREAD)
            return self.seen
        cost = _COST[examples.lengths is not None]
        _pass(self.model, _some(examples, 8), cost)  # allocators and kernels wake up
        spent_s, self.outputs = _pass(self.model, examples, cost)
        errors, is_within = self._compared(against)
        self.seen = _seen(
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
        """The same, at the size found best from a quarter of the compared one on."""
        examples = self.model.decode(sample)
        cost, is_settled = _COST[examples.lengths is not None] // 4, False
        seconds: dict[int, float] = {}  # of a full batch
        while not is_settled:
            spent_s, _ = _pass(self.model, examples, cost)
            # Padding is part of the work here: in a window of thousands of rows there is little of it.
            seconds[cost] = spent_s * cost / _computed(examples, cost)
            cost, is_settled = next_size(seconds, CEILING)
        return self.seen.model_copy(update={"batch_cost": cost})

    def _compared(self, against: Trial | None) -> tuple[dict[str, float], bool]:
        if against is None:
            return {}, True
        errors = differences(against.outputs, self.outputs)
        told = {kind: float(f"{value:.6g}") for kind, value in errors.items()}
        precision = self.variant.runtime.precision
        return told, within(errors, self.model.card.tolerance, precision)


def _measured(
    request: Request, rows: pa.RecordBatch, variant: Variant, first: Trial
) -> tuple[Measurement, Trial | None]:
    try:
        trial = Trial(request, variant)
        return trial.compare(rows, against=first), trial
    except Exception as error:  # noqa: BLE001 - a backend's own error declines the backend, not the run
        why = f"{type(error).__name__}: {error}"[:500]
        return _seen(variant, why=withheld(why) if request.hides_values else why), None


def _as_many_as(seconds: float, trial: Trial, sample: pa.RecordBatch) -> pa.RecordBatch:
    """Rows from all over the sample, of which computing takes about so long; at least 32."""
    probe = _spread(sample, 32)
    examples = trial.model.decode(probe)
    if not len(examples.rows):
        readable = sample.take(pa.array(trial.model.decode(sample).rows))
        return _as_many_as(seconds, trial, readable) if readable.num_rows else probe
    cost = _COST[examples.lengths is not None]
    _pass(trial.model, _some(examples, 8), cost)
    spent_s, _ = _pass(trial.model, examples, cost)
    return _spread(sample, max(32, int(probe.num_rows * seconds / spent_s)))


def _spread(sample: pa.RecordBatch, count: int) -> pa.RecordBatch:
    if sample.num_rows <= count:
        return sample
    rows = np.linspace(0, sample.num_rows - 1, count).astype(np.int64)
    return sample.take(pa.array(rows))


def _some(examples: Examples, count: int) -> Examples:
    index = np.arange(min(count, len(examples.rows)))
    lengths = None if examples.lengths is None else examples.lengths[index]
    return Examples(examples.take(index), index, {}, lengths)


def _pass(model: Model, examples: Examples, cost: int) -> tuple[float, Outputs]:
    """Seconds to compute all examples in batches of a cost, and their outputs in order.

    On a CPU these are the seconds that its cores worked for this process: validation and other
    tasks run beside it, and must not count against whatever is measured meanwhile.
    """
    on_cpu = model.device == "cpu"
    clock = time.process_time if on_cpu else time.perf_counter
    sizer = Measured(cost, ceiling=cost, settled=True)
    count = len(examples.rows)
    made = Gathered(count)
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
    sizer = Measured(cost, ceiling=cost, settled=True)
    return sum(len(index) * int(lengths[index].max()) for index in cut(count, sizer, lengths))


def _pays(variant: Variant, expected_s: float) -> bool:
    return variant.runtime.backend != "torch_compile" or expected_s >= COMPILE_WORTH_S


def _too_short(expected_s: float, limit_s: float) -> str:
    return (
        f"not measured: the run takes about {expected_s:.0f} s of compute in fp32, "
        f"of which measuring may take {limit_s:.0f} s"
    )


def _seen(variant: Variant, **seen: Any) -> Measurement:
    runtime = variant.runtime
    return Measurement(backend=runtime.backend, precision=runtime.precision, **seen)


def main(request_file: str, sample_file: str) -> int:
    """Print what is measured, a line each; an exit code."""
    keep_freed_memory()  # as every worker does
    request = Request.model_validate_json(Path(request_file).read_text("utf-8"))
    with pa.OSFile(sample_file) as file:
        sample = pa.ipc.open_file(file).get_batch(0)
    try:
        for one in measurements(request, sample):
            print(one.model_dump_json(), flush=True)
    except MillraceError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

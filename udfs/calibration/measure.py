"""``python -m millrace.udfs.calibration.measure REQUEST SAMPLE``: measures every variant.

A process of its own: its imports and memory are gone before the run computes, and a kernel that this
machine does not have kills nothing else. It prints one line of JSON per measurement.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from millrace.schemas.calibration import DEPENDS_ON_BATCH, CalibrationRequest, Measurement, chosen
from millrace.schemas.errors import MillraceError, UsageError, without_addresses
from millrace.udfs.calibration.variant_trial import (
    COMPARED_COST,
    VariantTrial,
    first_rows,
    measurement,
    timed_pass,
)
from millrace.udfs.calibration.variants import Variant, candidates, reference
from millrace.udfs.engine.row_isolation import withheld
from millrace.udfs.models import model_loading
from millrace.udfs.runtime.memory import keep_freed_memory

# Measuring may take a tenth of what the run would take in fp32: more could not be earned back.
SHARE = 0.1
WORTH_S = 8.0  # of compute in fp32; a shorter run measures nothing but its batch size
COMPILE_WORTH_S = 600.0  # torch.compile alone takes a minute
PASS_S = 1.0  # of compute in fp32 on the rows that everything is measured with
BATCH_DEPENDENT = (
    "not chosen: outputs depend on the other rows of a batch, and a rerun must give equal ones"
)


def measurements(request: CalibrationRequest, sample: pa.RecordBatch) -> Iterator[Measurement]:
    """Measure the reference, then every variant that the request allows and the run's length pays for.

    The last measurement is that of the best variant at its best batch size. If no row of the sample can
    be decoded, there is only the reference, without a rate.

    Raises:
        UsageError: this machine has no variant that the request allows.
    """
    card = model_loading.read_card(Path(request.folder))
    variants = candidates(card, request)
    if not variants:
        raise UsageError(
            f"model {card.title} cannot be computed as the job asks",
            got=f"backend {request.backend}, precision {request.precision}",
            allowed="auto, or what this machine and its packages have",
            next="set engine.backend and engine.precision",
        )
    first = VariantTrial(request, reference(card, request))
    rows = _as_many_as(PASS_S, first, sample)
    yield first.compare(rows)
    if first.seen.rows_per_s is not None:
        best = yield from _others(request, rows, first, variants)
        yield best.at_its_size(rows)


def _others(
    request: CalibrationRequest, rows: pa.RecordBatch, first: VariantTrial, variants: list[Variant]
) -> Generator[Measurement, None, VariantTrial]:
    """Measure the variants besides the reference while that pays, and return the best trial."""
    seen = [first.seen]
    expected_s = request.expected_rows / (first.seen.rows_per_s or 1.0) / request.slots
    limit_s = SHARE * expected_s if expected_s >= WORTH_S else 0.0
    began, best = time.monotonic(), first
    for place, variant in enumerate(one for one in variants if one != first.variant):
        is_needed = place == 0 and first.variant not in variants  # the job allows no other
        has_time = _pays(variant, expected_s) and time.monotonic() - began < limit_s
        why = declined(variant, request)
        if not (is_needed or has_time):
            one, trial = measurement(variant, why=_too_short(expected_s, limit_s)), None
        elif why:
            one, trial = measurement(variant, why=why), None
        else:
            one, trial = _measured(request, rows, variant, first)
        seen.append(one)
        yield one
        if trial and chosen(seen, request.backend, request.precision) == len(seen) - 1:
            best = trial  # releases the model of the trial before
    return best


def _measured(
    request: CalibrationRequest, rows: pa.RecordBatch, variant: Variant, first: VariantTrial
) -> tuple[Measurement, VariantTrial | None]:
    try:
        trial = VariantTrial(request, variant)
        return trial.compare(rows, against=first), trial
    except Exception as error:  # noqa: BLE001 - a backend's own error declines the backend, not the run
        why = without_addresses(f"{type(error).__name__}: {error}")[:500]
        return measurement(variant, why=withheld(why) if request.hides_values else why), None


def _as_many_as(seconds: float, trial: VariantTrial, sample: pa.RecordBatch) -> pa.RecordBatch:
    """Rows from all over the sample, of which computing takes about so long; at least 32."""
    probe = _spread(sample, 32)
    examples = trial.model.decode(probe)
    if not len(examples.rows):
        readable = sample.take(pa.array(trial.model.decode(sample).rows))
        return _as_many_as(seconds, trial, readable) if readable.num_rows else probe
    cost = COMPARED_COST[examples.lengths is not None]
    timed_pass(trial.model, first_rows(examples, 8), cost)
    spent_s, _ = timed_pass(trial.model, examples, cost)
    return _spread(sample, max(32, int(probe.num_rows * seconds / spent_s)))


def _spread(sample: pa.RecordBatch, count: int) -> pa.RecordBatch:
    if sample.num_rows <= count:
        return sample
    rows = np.linspace(0, sample.num_rows - 1, count).astype(np.int64)
    return sample.take(pa.array(rows))


def _pays(variant: Variant, expected_s: float) -> bool:
    return variant.runtime.backend != "torch_compile" or expected_s >= COMPILE_WORTH_S


def _too_short(expected_s: float, limit_s: float) -> str:
    return (
        f"not measured: the run takes about {expected_s:.0f} s of compute in fp32, "
        f"of which measuring may take {limit_s:.0f} s"
    )


def declined(variant: Variant, request: CalibrationRequest) -> str:
    """Return why measuring must not choose a variant; empty for one that it may choose.

    ONNX Runtime's dynamic quantisation scales activations by the whole batch, so that a row's outputs depend
    on its neighbours. A rerun, whose batches may differ, would give other outputs. A job that pins backend
    and precision may use it.
    """
    pair = (variant.runtime.backend, variant.runtime.precision)
    is_pinned = (request.backend, request.precision) == pair
    return BATCH_DEPENDENT if pair in DEPENDS_ON_BATCH and not is_pinned else ""


def main(request_file: str, sample_file: str) -> int:
    """Print the measurements, one line each, and return an exit code."""
    keep_freed_memory()  # as every worker does
    request = CalibrationRequest.model_validate_json(Path(request_file).read_text("utf-8"))
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

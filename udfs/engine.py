"""Scoring, without Spark: Arrow batches in, the same rows with predictions, errors and meters out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from functools import partial
from itertools import chain
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar, cast

import pyarrow as pa

from schemas.model import Signature
from schemas.tables import ERROR, METER, struct_of
from schemas.types import arrow_type
from udfs import failpoint
from udfs.batching import windows
from udfs.decode import Examples
from udfs.meter import Meter
from udfs.models.base import Model
from udfs.models.gpu import GpuUse, gauge_of
from udfs.overlap import ahead
from udfs.plan import Plan
from udfs.poison import Failures, Predictor, fitted, withheld
from udfs.reuse import Picked, picked
from udfs.sizing import CEILINGS, sizer_for
from udfs.watchdog import Watchdog

T = TypeVar("T")

ERROR_TYPE = arrow_type(struct_of(ERROR))
METER_TYPE = arrow_type(struct_of(METER))
_MAX_WINDOW_BYTES = 64 << 20
_NOT_FINITE = ("output", "NaN or infinite")
_WORK = ("tokens", "model_batches", "tokens_computed", "tokens_out", "gpu_busy_s")


class Apart(Protocol):
    """Another process, for the windows at which an earlier attempt of this task died."""

    def began(self, window: int) -> None:
        """The task comes to a window, counted from 0."""
        ...

    def is_suspect(self, window: int) -> bool:
        """Whether the window is to be computed apart."""
        ...

    def scored(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """The model's outputs for ``rows``, ``error`` and ``_meter``, as `score` gives them."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...


def score(
    batches: Iterable[pa.RecordBatch],
    load: Callable[[], Model],
    plan: Plan,
    meter: Meter,
    apart: Apart | None = None,
) -> Iterator[pa.RecordBatch]:
    """The rows of ``batches``, in their order, whatever the cuts between them.

    Columns out: ``plan.passthrough``, the model's outputs (null where a row failed), ``error`` (null
    where it did not), ``_meter`` (on the first row of a batch of which some row was computed). The
    model is loaded when the first rows to compute come; a partition without such rows loads none.
    Windows that ``apart`` suspects are computed there.
    Raises TooManyFailed past ``plan.max_failed_rows``, and what the model raises where it is no row's fault.
    """
    coming = picked(windows(batches, plan.window_rows, _MAX_WINDOW_BYTES), plan)
    first = None
    for one in _timed(coming, meter):
        if one.asked.num_rows:
            first = one
            break
        yield one.given(None)
    if first is None:
        return
    with meter.lap("load_s"):
        model = failpoint.around(load())
    task = Scoring(model, plan, meter)
    with apart or nullcontext():
        if apart is not None:
            apart.began(0)  # it is decoded before it is computed
        for number, (one, examples) in enumerate(
            _decoded(model, chain([first], coming), plan, meter, apart)
        ):
            if apart is not None:
                apart.began(number)
            made = task.made(one.asked, examples, apart)
            with meter.lap("convert_s"):
                out = one.given(made)
            with meter.lap("emit_s"):
                yield out


class Scoring:
    """A task's model, and what was learned of it so far."""

    def __init__(self, model: Model, plan: Plan, meter: Meter) -> None:
        # A model that writes texts cuts its own batches, anew at every step, of all of a window's rows.
        takes_all = getattr(model, "takes_windows", False)
        key = (frozenset(model.card.files.items()), model.runtime, model.device)
        if plan.too_large is not None:
            CEILINGS.failed(key, plan.too_large)
        sizer = sizer_for(
            plan.window_rows if takes_all else plan.batch_rows,
            plan.batch_cost,
            failed=CEILINGS.least(key),
        )
        self._too_large = partial(CEILINGS.least, key)
        self._model, self._plan, self._meter = model, plan, meter
        self._words: Callable[[str], str] = withheld if plan.hides_values else str
        self._failures = Failures(plan.max_failed_rows)
        meter.watch(model.device)
        # Of a model in a host process, the host has the clock: one here would open the GPU as well.
        gauge = None if hasattr(model, "gpu_used") else gauge_of(model.runtime)
        self._gpu_used: Callable[[], GpuUse | None] = getattr(
            model, "gpu_used", gauge.taken if gauge else lambda: None
        )
        self._predictor = Predictor(
            model,
            sizer,
            self._failures,
            Watchdog(plan.batch_timeout_s),
            partial(CEILINGS.failed, key),
            gauge.call if gauge else nullcontext,
            self._words,
        )

    def made(
        self, rows: pa.RecordBatch, examples: Examples | None, apart: Apart | None
    ) -> pa.RecordBatch | None:
        """The rows computed, apart where there are no ``examples``; None of no rows."""
        if not rows.num_rows:
            return None
        if apart is not None and examples is None:
            return self.merged(rows, apart)
        return self.scored(rows, cast("Examples", examples))

    def scored(self, window: pa.RecordBatch, examples: Examples) -> pa.RecordBatch:
        """A window's rows, from what the model reads of them."""
        meter, words = self._meter, self._words
        unread = {row: words(why) for row, why in examples.errors.items()}
        if unread:
            self._failures.add(len(unread), next(iter(unread.values())))
        with meter.lap("compute_s"):
            found = self._predictor.window(examples, window.num_rows)
        with meter.lap("convert_s"):
            columns, misfits = fitted(found, examples.rows, self._model.card.signature)
            misfits = {row: (kind, words(why)) for row, (kind, why) in misfits.items()}
            late = misfits | dict.fromkeys(map(int, found.made.not_finite), _NOT_FINITE)
            errors = {row: ("decode", why) for row, why in unread.items()} | found.errors | late
            told = _error_column(errors, window.num_rows)
        if late:
            self._failures.add(len(late), next(iter(late.values()))[1])
        lengths, gpu = examples.lengths, self._gpu_used()
        work = {
            "failed": len(errors),
            "tokens": None if lengths is None else int(lengths.sum()),
            "model_batches": found.calls,
            "tokens_computed": None if lengths is None else found.cost,
            "tokens_out": found.tokens_out,
            "gpu_busy_s": gpu and gpu.busy_s,
            "gpu_memory_bytes": gpu and gpu.memory_bytes,
        }
        return self._told(window, columns, told, work)

    def merged(self, window: pa.RecordBatch, apart: Apart) -> pa.RecordBatch:
        """A window's rows, computed in another process; what that took counts as compute."""
        with self._meter.lap("compute_s"):
            made = apart.scored(window.select(self._plan.inputs))
        with self._meter.lap("convert_s"):
            told = made.column("error")
            meters = [m for m in made.column("_meter").drop_null().to_pylist() if m is not None]
            columns = {n: made.column(n) for n in self._model.card.signature.outputs}
        failed = len(told) - told.null_count
        if failed:
            self._failures.add(failed, told.drop_null()[0]["message"].as_py())
        work = {name: _sum(meter[name] for meter in meters) for name in _WORK}
        held = [one["gpu_memory_bytes"] for one in meters if one["gpu_memory_bytes"] is not None]
        work |= {"failed": failed, "gpu_memory_bytes": max(held, default=None)}
        return self._told(window, columns, told, work)

    def _told(
        self,
        window: pa.RecordBatch,
        columns: dict[str, pa.Array],
        errors: pa.Array,
        work: dict[str, Any],
    ) -> pa.RecordBatch:
        reading = self._meter.take(
            device=self._model.device,
            backend=self._model.runtime.backend,
            precision=self._model.runtime.precision,
            too_large=self._too_large(),
            rows=window.num_rows,
            size_bytes=window.select(self._plan.inputs).nbytes,
            **work,
        )
        with self._meter.lap("convert_s"):
            return _row_batch(window, self._plan.passthrough, columns, errors, reading)


def output_schema(passthrough: pa.Schema, signature: Signature) -> pa.Schema:
    """The schema of what `score` yields."""
    outputs = [pa.field(name, arrow_type(spec.type)) for name, spec in signature.outputs.items()]
    return pa.schema(
        [*passthrough, *outputs, pa.field("error", ERROR_TYPE), pa.field("_meter", METER_TYPE)]
    )


def _timed(items: Iterator[T], meter: Meter) -> Iterator[T]:
    while True:
        with meter.lap("wait_s"):
            item = next(items, None)
        if item is None:
            return
        yield item


def _decoded(
    model: Model,
    coming: Iterator[Picked],
    plan: Plan,
    meter: Meter,
    apart: Apart | None,
) -> Iterator[tuple[Picked, Examples | None]]:
    """Each window with what the model reads of it; with cores to spare, the next while one computes.

    None for one without rows to compute, and for one that is suspect: what killed a worker may have
    done so while it was decoded.
    """
    if plan.decode_ahead:  # of both, what is not hidden behind compute counts as time spent waiting
        pairs = ((w, _read(model, w, n, plan, apart)) for n, w in enumerate(coming))
        return _timed(ahead(pairs), meter)
    return _in_turn(model, enumerate(_timed(coming, meter)), plan, meter, apart)


def _in_turn(
    model: Model,
    waiting: Iterable[tuple[int, Picked]],
    plan: Plan,
    meter: Meter,
    apart: Apart | None,
) -> Iterator[tuple[Picked, Examples | None]]:
    for number, window in waiting:
        with meter.lap("decode_s"):
            examples = _read(model, window, number, plan, apart)
        yield window, examples


def _read(
    model: Model, window: Picked, number: int, plan: Plan, apart: Apart | None
) -> Examples | None:
    if not window.asked.num_rows or (apart is not None and apart.is_suspect(number)):
        return None
    return model.decode(window.asked.select(plan.inputs))


def _sum(numbers: Iterable[Any]) -> Any:
    there = [number for number in numbers if number is not None]
    return sum(there) if there else None


def _row_batch(
    window: pa.RecordBatch,
    passthrough: Iterable[str],
    columns: dict[str, pa.Array],
    errors: pa.Array,
    reading: dict[str, Any],
) -> pa.RecordBatch:
    kept = {name: window.column(name) for name in passthrough}
    meters = _meter_column(reading, window.num_rows)
    return pa.RecordBatch.from_pydict({**kept, **columns, "error": errors, "_meter": meters})


def _error_column(errors: dict[int, tuple[str, str]], rows: int) -> pa.Array:
    if not errors:
        return pa.nulls(rows, ERROR_TYPE)
    told = [errors.get(row) for row in range(rows)]
    return pa.array([e and {"kind": e[0], "message": e[1]} for e in told], ERROR_TYPE)


def _meter_column(reading: dict[str, Any], rows: int) -> pa.Array:
    first = pa.array([reading], METER_TYPE)
    return pa.concat_arrays([first, pa.nulls(rows - 1, METER_TYPE)])

"""The scoring of one task: each window's outputs, errors and meter as Arrow columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any, cast

import pyarrow as pa

from millrace.schemas.model import Signature
from millrace.schemas.tables import ERROR, MODEL_WARNINGS, struct_of
from millrace.schemas.types import arrow_type
from millrace.udfs.backends.gpu_usage import GpuUse, gauge_of
from millrace.udfs.engine.batch_sizing import CEILINGS, sizer_for
from millrace.udfs.engine.deduplication import WARNINGS_TYPE
from millrace.udfs.engine.isolation import Isolation
from millrace.udfs.engine.last_batch import METER_TYPE, meter_column
from millrace.udfs.engine.metering import Meter
from millrace.udfs.engine.row_isolation import Failures, Predictor, fitted, withheld
from millrace.udfs.models.model_loading import Model
from millrace.udfs.runtime.examples import Examples
from millrace.udfs.runtime.plan import Plan
from millrace.udfs.runtime.watchdog import Watchdog

ERROR_TYPE = arrow_type(struct_of(ERROR))
_NOT_FINITE = ("output", "NaN or infinite")
_WORK = ("tokens", "model_batches", "tokens_computed", "tokens_out", "gpu_busy_s")


class Scoring:
    """The model of a task, its batch sizes and its failures so far."""

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
        self._model, self.plan, self.meter = model, plan, meter
        self._redact: Callable[[str], str] = withheld if plan.hides_values else str
        self._failures = Failures(plan.max_failed_rows)
        meter.watch(model.device)
        # Of a model in a host process, the host has the clock: one here would open the GPU as well.
        gauge = None if hasattr(model, "gpu_used") else gauge_of(model.runtime)
        self._gpu_used: Callable[[], GpuUse | None] = getattr(
            model, "gpu_used", gauge.usage_since_last if gauge else lambda: None
        )
        self._predictor = Predictor(
            model,
            sizer,
            self._failures,
            Watchdog(plan.batch_timeout_s),
            partial(CEILINGS.failed, key),
            gauge.call if gauge else nullcontext,
            self._redact,
        )

    def made(
        self, rows: pa.RecordBatch, examples: Examples | None, isolation: Isolation | None
    ) -> pa.RecordBatch | None:
        """Score rows, by ``isolation`` if there are no ``examples``; None for no rows."""
        if not rows.num_rows:
            return None
        if isolation is not None and examples is None:
            return self.merged(rows, isolation)
        return self.scored(rows, cast("Examples", examples))

    def scored(self, window: pa.RecordBatch, examples: Examples) -> pa.RecordBatch:
        """Score the rows of a window, given the model's examples of them."""
        meter, redact = self.meter, self._redact
        unread = {row: redact(why) for row, why in examples.errors.items()}
        if unread:
            self._failures.add(len(unread), next(iter(unread.values())))
        with meter.lap("compute_s"):
            found = self._predictor.window(examples, window.num_rows, meter.computed)
        with meter.lap("convert_s"):
            columns, misfits = fitted(found, examples.rows, self._model.card.signature)
            misfits = {row: (kind, redact(why)) for row, (kind, why) in misfits.items()}
            late = misfits | dict.fromkeys(map(int, found.made.not_finite), _NOT_FINITE)
            errors = {row: ("decode", why) for row, why in unread.items()} | found.errors | late
            status = {
                "error": _error_column(errors, window.num_rows),
                MODEL_WARNINGS: _warnings_column(examples.warnings, window.num_rows),
            }
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
        return self._result(window, columns, status, work)

    def merged(self, window: pa.RecordBatch, isolation: Isolation) -> pa.RecordBatch:
        """Score the rows of a window in another process; its time counts as compute."""
        with self.meter.lap("compute_s"):
            made = isolation.scored(window.select(self.plan.inputs))
        with self.meter.lap("convert_s"):
            status = {name: made.column(name) for name in ("error", MODEL_WARNINGS)}
            meters = [m for m in made.column("_meter").drop_null().to_pylist() if m is not None]
            columns = {n: made.column(n) for n in self._model.card.signature.outputs}
        errors = status["error"]
        failed = len(errors) - errors.null_count
        if failed:
            self._failures.add(failed, errors.drop_null()[0]["message"].as_py())
        work = {name: _sum(meter[name] for meter in meters) for name in _WORK}
        memory = [one["gpu_memory_bytes"] for one in meters if one["gpu_memory_bytes"] is not None]
        work |= {"failed": failed, "gpu_memory_bytes": max(memory, default=None)}
        return self._result(window, columns, status, work)

    def _result(
        self,
        window: pa.RecordBatch,
        columns: dict[str, pa.Array],
        status: dict[str, pa.Array],
        work: dict[str, Any],
    ) -> pa.RecordBatch:
        size = window.select(self.plan.inputs).nbytes
        reading = self._reading(rows=window.num_rows, size_bytes=size, **work)
        with self.meter.lap("convert_s"):
            return _row_batch(window, self.plan.passthrough, columns | status, reading)

    def rest(self) -> dict[str, Any]:
        """Return the reading of the time after the last window."""
        nothing = dict.fromkeys((*_WORK, "gpu_memory_bytes")) | {"model_batches": 0}
        return self._reading(rows=0, failed=0, size_bytes=0, **nothing)

    def _reading(self, **facts: Any) -> dict[str, Any]:
        return self.meter.take(
            device=self._model.device,
            backend=self._model.runtime.backend,
            precision=self._model.runtime.precision,
            too_large=self._too_large(),
            **facts,
        )


def output_schema(passthrough: pa.Schema, signature: Signature) -> pa.Schema:
    """Return the schema of the batches that `score` yields."""
    outputs = [pa.field(name, arrow_type(spec.type)) for name, spec in signature.outputs.items()]
    return pa.schema(
        [
            *passthrough,
            *outputs,
            pa.field("error", ERROR_TYPE),
            pa.field(MODEL_WARNINGS, WARNINGS_TYPE),
            pa.field("_meter", METER_TYPE),
        ]
    )


def _sum(numbers: Iterable[Any]) -> Any:
    there = [number for number in numbers if number is not None]
    return sum(there) if there else None


def _row_batch(
    window: pa.RecordBatch,
    passthrough: Iterable[str],
    columns: dict[str, pa.Array],
    reading: dict[str, Any],
) -> pa.RecordBatch:
    passed = {name: window.column(name) for name in passthrough}
    meters = meter_column(reading, window.num_rows)
    return pa.RecordBatch.from_pydict({**passed, **columns, "_meter": meters})


def _error_column(errors: dict[int, tuple[str, str]], rows: int) -> pa.Array:
    if not errors:
        return pa.nulls(rows, ERROR_TYPE)
    status = [errors.get(row) for row in range(rows)]
    return pa.array([e and {"kind": e[0], "message": e[1]} for e in status], ERROR_TYPE)


def _warnings_column(warnings: Mapping[int, str], rows: int) -> pa.Array:
    if not warnings:
        return pa.nulls(rows, WARNINGS_TYPE)
    return pa.array([[warnings[n]] if n in warnings else None for n in range(rows)], WARNINGS_TYPE)

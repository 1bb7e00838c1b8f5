"""Scores Arrow batches, without Spark: the same rows with predictions, errors and meters."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import nullcontext
from itertools import chain
from typing import TypeVar, cast

import pyarrow as pa

from millrace.udfs.engine import fault_injection
from millrace.udfs.engine.batching import windows
from millrace.udfs.engine.deduplication import WindowSelection, selections
from millrace.udfs.engine.isolation import Isolation
from millrace.udfs.engine.last_batch import cut, with_reading
from millrace.udfs.engine.metering import Meter
from millrace.udfs.engine.prefetch import ahead
from millrace.udfs.engine.task_scoring import Scoring
from millrace.udfs.models.model_loading import Model
from millrace.udfs.runtime.examples import Examples
from millrace.udfs.runtime.plan import Plan

T = TypeVar("T")

_MAX_WINDOW_BYTES = 64 << 20


def score(
    batches: Iterable[pa.RecordBatch],
    load: Callable[[], Model],
    plan: Plan,
    meter: Meter,
    isolation: Isolation | None = None,
) -> Iterator[pa.RecordBatch]:
    """Score the rows of ``batches``, in order; the cuts between batches do not matter.

    Args:
        load: loads the model. It is called when the first rows to compute come; a partition without such
            rows loads none.
        isolation: computes windows at which an earlier attempt of the task died.

    Returns:
        Batches with the columns ``plan.passthrough``, the model's outputs (null if the row failed),
        ``error`` (null if it did not), ``_warnings`` (such as a truncated text, or null), and ``_meter``
        (in the first row of a batch with computed rows).

    Raises:
        TooManyFailed: more rows failed than ``plan.max_failed_rows``.
        Exception: the model's own error, if it is not about a row.
    """
    coming = selections(windows(batches, plan.window_rows, _MAX_WINDOW_BYTES), plan)
    first = None
    for one in _timed(coming, meter):
        if one.to_compute.num_rows:
            first = one
            break
        yield one.expand(None)
    if first is None:
        return
    with meter.lap("load_s"):
        model = fault_injection.around(load())
        task = Scoring(model, plan, meter)
    with isolation or nullcontext():
        last = yield from _all_but_the_last(model, task, chain([first], coming), isolation)
    *ahead_of_it, end = cut(last)
    for batch in ahead_of_it:
        with meter.lap("emit_s"):
            yield batch
    yield with_reading(end, task.rest())


def _all_but_the_last(
    model: Model, task: Scoring, coming: Iterator[WindowSelection], isolation: Isolation | None
) -> Generator[pa.RecordBatch, None, pa.RecordBatch]:
    """What became of each window, once the next one is there; gives the last one back."""
    plan, meter = task.plan, task.meter
    if isolation is not None:
        isolation.began(0)  # it is decoded before it is computed
    before = None
    for number, (one, examples) in enumerate(_decoded(model, coming, plan, meter, isolation)):
        if isolation is not None:
            isolation.began(number)
        if before is not None:
            with meter.lap("emit_s"):
                yield before
        made = task.made(one.to_compute, examples, isolation)
        with meter.lap("convert_s"):
            before = one.expand(made)
    return cast("pa.RecordBatch", before)  # there is a window with rows to compute


def _timed(items: Iterator[T], meter: Meter) -> Iterator[T]:
    while True:
        with meter.lap("wait_s"):
            item = next(items, None)
        if item is None:
            return
        yield item


def _decoded(
    model: Model,
    coming: Iterator[WindowSelection],
    plan: Plan,
    meter: Meter,
    isolation: Isolation | None,
) -> Iterator[tuple[WindowSelection, Examples | None]]:
    """Each window with what the model reads of it; with cores to spare, the next while one computes.

    None for one without rows to compute, and for one that is suspect: what killed a worker may have
    done so while it was decoded.
    """
    if plan.decode_ahead:  # of both, what is not hidden behind compute counts as time spent waiting
        pairs = ((w, _read(model, w, n, plan, isolation)) for n, w in enumerate(coming))
        return _timed(ahead(pairs), meter)
    return _in_turn(model, enumerate(_timed(coming, meter)), plan, meter, isolation)


def _in_turn(
    model: Model,
    waiting: Iterable[tuple[int, WindowSelection]],
    plan: Plan,
    meter: Meter,
    isolation: Isolation | None,
) -> Iterator[tuple[WindowSelection, Examples | None]]:
    for number, window in waiting:
        with meter.lap("decode_s"):
            examples = _read(model, window, number, plan, isolation)
        yield window, examples


def _read(
    model: Model, window: WindowSelection, number: int, plan: Plan, isolation: Isolation | None
) -> Examples | None:
    if not window.to_compute.num_rows or (isolation is not None and isolation.is_suspect(number)):
        return None
    return model.decode(window.to_compute.select(plan.inputs))

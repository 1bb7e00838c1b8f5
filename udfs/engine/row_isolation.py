"""Computes all rows of a window although some make the model fail: halving their batch finds those.

A call that fails is repeated in halves, down to single rows. One bad row of n therefore costs at most
``2 * ceil(log2(n))`` further calls, and k of them about ``2 * k * (log2(n / k) + 1)``. A call that succeeds
costs nothing more.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from millrace.schemas.errors import (
    MillraceError,
    OutputMismatch,
    RunFailed,
    TooManyFailed,
    without_addresses,
)
from millrace.schemas.model import Signature
from millrace.udfs.engine.batch_sizing import Sizer
from millrace.udfs.engine.batching import cut
from millrace.udfs.models.model_loading import Model
from millrace.udfs.runtime.examples import Examples
from millrace.udfs.runtime.memory import out_of_memory
from millrace.udfs.runtime.outputs import OutputBuffer, Outputs, column_of
from millrace.udfs.runtime.watchdog import Watchdog

ENOUGH = 32  # rows that all fail, and none that does not: then it is not the rows
_TEXT = 300  # characters of a model's error
_LASTING = ("CUDA error", "EngineDeadError")  # after these, nothing in this process computes again

Errors = dict[int, tuple[str, str]]  # row -> kind and message


class Failures:
    """Counts a task's failed rows against the run's allowance."""

    def __init__(self, allowed: int | None) -> None:
        self._allowed = allowed
        self._first = ""
        self.count = 0

    def add(self, rows: int, message: str) -> None:
        """Add failed rows, the first with this message. Raises TooManyFailed beyond the allowance."""
        self._first = self._first or message
        self.count += rows
        if self._allowed is not None and self.count > self._allowed:
            raise TooManyFailed(
                "too many rows have failed in one task",
                got=f"{self.count}, the first with {self._first}",
                allowed=f"{self._allowed} in the whole run",
                next="correct the input or the model, or raise run.max_failed",
            )


@dataclass
class Computed:
    """The model's outputs and errors of a window, each in its row's place, and the work that they took."""

    rows: int  # of the window
    made: OutputBuffer
    computed: Callable[[int], None]  # called with the rows of each call that gave outputs
    errors: Errors = field(default_factory=dict)
    calls: int = 0  # that gave outputs
    cost: int = 0  # of these calls: padded tokens, or rows
    tokens_out: int | None = None

    def add(self, cost: int, outputs: Outputs) -> None:
        """Record a call."""
        self.calls, self.cost = self.calls + 1, self.cost + cost
        if "tokens_out" in outputs:
            self.tokens_out = (self.tokens_out or 0) + int(np.sum(outputs["tokens_out"]))


class Predictor:
    """Calls a model for one task, in batches of the sizes that ``sizer`` gives, and isolates failing rows.

    Args:
        too_much: is called with each cost that ran out of memory, unless a single row did already.
        around: the context in which each call of the model runs.
        redact: makes the reported text of an error's text.
    """

    def __init__(
        self,
        model: Model,
        sizer: Sizer,
        failures: Failures,
        watchdog: Watchdog,
        too_much: Callable[[int], None],
        around: Callable[[], AbstractContextManager[None]] = nullcontext,
        redact: Callable[[str], str] = str,
    ) -> None:
        self._model, self._sizer, self._failures = model, sizer, failures
        self._watchdog, self._too_much, self._around = watchdog, too_much, around
        self._redact = redact
        self._first: Exception | None = None  # while no call has given outputs
        self._has_scored = False
        self._lost = 0  # rows that failed in a call of their own

    def window(
        self, examples: Examples, rows: int, computed: Callable[[int], None] = lambda _: None
    ) -> Computed:
        """Compute outputs or an error for each example of a window with ``rows`` rows.

        Args:
            computed: is called with the number of rows of each call that gave outputs.

        Raises:
            TooManyFailed: more rows failed than the run allows.
            Exception: the model's own error, if it is not about a row, or if `ENOUGH` rows failed and none
                succeeded.
        """
        found = Computed(rows, OutputBuffer(rows), computed)
        with self._watchdog.watching():
            for index in cut(len(examples.rows), self._sizer, examples.lengths):
                self._batch(examples, index, found)
        return found

    def _batch(self, examples: Examples, index: NDArray[np.int64], found: Computed) -> bool:
        """Compute these positions, in halves where that fails; whether every row had the memory."""
        cost = cost_of(examples, index)
        try:
            self._call(examples, index, cost, found)
        except Exception as error:
            if not may_be_a_row(error):
                raise
            no_room, reason = out_of_memory(error), self._redact(summarize_error(error))
            if self._first is None and not self._has_scored:
                self._first = error.with_traceback(None) if no_room else error
        else:
            return True
        # Outside of the handler: its traceback would keep the failed batch's memory alive.
        if len(index) == 1:
            self._lose(int(examples.rows[index[0]]), reason, found)
            return not no_room
        had_room = [self._batch(examples, half, found) for half in np.array_split(index, 2)]
        if no_room and all(
            had_room
        ):  # else one row alone is too large, which says little of batches
            self._sizer.failed(cost)
            self._too_much(cost)
        return all(had_room)

    def _call(
        self, examples: Examples, index: NDArray[np.int64], cost: int, found: Computed
    ) -> None:
        self._watchdog.call()
        started = time.perf_counter()
        with self._around():
            outputs = self._model.predict(examples.take(index))
        seconds = time.perf_counter() - started
        found.made.put(examples.rows[index], outputs, self._model.card.signature)
        found.add(cost, outputs)
        self._sizer.took(cost, seconds)
        found.computed(len(index))
        self._has_scored, self._first = True, None

    def _lose(self, row: int, reason: str, found: Computed) -> None:
        found.errors[row] = ("predict", reason)
        self._lost += 1
        if self._first is not None and self._lost >= ENOUGH:
            raise self._first
        self._failures.add(1, reason)


def fitted(
    found: Computed, rows: NDArray[np.int64], signature: Signature
) -> tuple[dict[str, pa.Array], Errors]:
    """Return the outputs of ``rows`` as Arrow columns, and errors for rows that do not fit the types.

    Raises:
        OutputMismatch: no row fits, and there are at least `ENOUGH`.
    """
    try:
        return found.made.columns(signature), {}
    except OutputMismatch as error:
        mismatch = error
    arrays = found.made.arrays
    there = np.setdiff1d(rows, [*found.errors, *found.made.not_finite])
    errors: Errors = {}
    for row in map(int, there):
        if (reason := _misfit(arrays, row, signature)) is not None:
            errors[row] = ("predict", reason)
    if len(errors) == len(there) >= ENOUGH:
        raise mismatch
    fit = np.setdiff1d(there, [*errors])
    clean = OutputBuffer(found.rows)
    if len(fit):
        clean.put(fit, {name: values[fit] for name, values in arrays.items()}, signature)
    return clean.columns(signature), errors


def may_be_a_row(error: Exception) -> bool:
    """Whether a row may have caused the error, and not the model, the job or the device."""
    if isinstance(error, MillraceError) and not isinstance(error, RunFailed):
        return False  # a host says RunFailed of whatever the model raised in it
    return not is_lasting(error)


def is_lasting(error: BaseException) -> bool:
    """Whether this process cannot compute any more after the error, and a new one must continue."""
    if not isinstance(error, Exception) or out_of_memory(error):
        return False
    return any(sign in f"{type(error).__name__}: {error}" for sign in _LASTING)


def summarize_error(error: Exception) -> str:
    """Return the kind of an error and the beginning of its text, on one line."""
    text = f"{error.what}; {error.got}" if isinstance(error, MillraceError) else str(error)
    line = f"{type(error).__name__}: {' '.join(without_addresses(text).split())[:_TEXT]}"
    return f"out of memory: {line}" if out_of_memory(error) else line


def withheld(reason: str) -> str:
    """Return a summary without the error's own text, which may quote the row."""
    kind, colon, _ = reason.partition(":")
    return f"{kind}: its text is withheld, as contract.redact asks" if colon else kind


def cost_of(examples: Examples, index: NDArray[np.int64]) -> int:
    """Return the padded tokens of a batch, or its rows if all shapes are equal."""
    width = 1 if examples.lengths is None else int(examples.lengths[index].max())
    return len(index) * width


def _misfit(arrays: dict[str, NDArray[Any]], row: int, signature: Signature) -> str | None:
    try:
        for name, spec in signature.outputs.items():
            column_of(name, arrays[name][row : row + 1], spec)
    except OutputMismatch as error:
        return summarize_error(error)
    return None

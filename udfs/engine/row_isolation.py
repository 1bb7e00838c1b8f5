"""A window's rows, computed whatever some of them do to the model: those are found by halving their batch.

A call that fails is made again in halves, down to single rows. One bad row of n so costs at most
``2 * ceil(log2(n))`` calls more than none, and k of them about ``2 * k * (log2(n / k) + 1)``. A call that
succeeds costs nothing more than it did.
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

from schemas.errors import MillraceError, OutputMismatch, RunFailed, TooManyFailed
from schemas.model import Signature
from udfs.allocator import out_of_memory
from udfs.batching import cut
from udfs.decode import Examples
from udfs.models.base import Model
from udfs.outputs import Gathered, Outputs, column_of
from udfs.sizing import Sizer
from udfs.watchdog import Watchdog

ENOUGH = 32  # rows that all fail, and none that does not: then it is not the rows
_TEXT = 300  # characters of a model's error
_LASTING = ("CUDA error", "EngineDeadError")  # after these, nothing in this process computes again

Errors = dict[int, tuple[str, str]]  # row -> kind and message


class Failures:
    """A task's rows without outputs, of which the run allows so many."""

    def __init__(self, allowed: int | None) -> None:
        self._allowed = allowed
        self._first = ""
        self.count = 0

    def add(self, rows: int, message: str) -> None:
        """So many more have failed, the first for this reason. Raises TooManyFailed past the allowance."""
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
    """What the model said of a window's rows, each in its place, and how much work that was."""

    rows: int  # of the window
    made: Gathered
    errors: Errors = field(default_factory=dict)
    calls: int = 0  # that gave outputs
    cost: int = 0  # of these calls: padded tokens, or rows
    tokens_out: int | None = None

    def add(self, cost: int, outputs: Outputs) -> None:
        """Count a call."""
        self.calls, self.cost = self.calls + 1, self.cost + cost
        if "tokens_out" in outputs:
            self.tokens_out = (self.tokens_out or 0) + int(np.sum(outputs["tokens_out"]))


class Predictor:
    """A model for the length of a task; it asks ``sizer`` for sizes, and tells of failed rows.

    ``too_much`` is called with each cost that ran out of memory, unless a single row did already; each
    call of the model is inside of an ``around()``. ``words`` says what is told of an error.
    """

    def __init__(
        self,
        model: Model,
        sizer: Sizer,
        failures: Failures,
        watchdog: Watchdog,
        too_much: Callable[[int], None],
        around: Callable[[], AbstractContextManager[None]] = nullcontext,
        words: Callable[[str], str] = str,
    ) -> None:
        self._model, self._sizer, self._failures = model, sizer, failures
        self._watchdog, self._too_much, self._around = watchdog, too_much, around
        self._words = words
        self._first: Exception | None = None  # while no call has given outputs
        self._has_scored = False
        self._lost = 0  # rows that failed in a call of their own

    def window(self, examples: Examples, rows: int) -> Computed:
        """Outputs or an error for each example of a window of so many rows.

        Raises TooManyFailed past the allowance, the model's own error where nothing but `ENOUGH` failed
        rows has been seen, and at once what is no row's fault.
        """
        found = Computed(rows, Gathered(rows))
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
            no_room, reason = out_of_memory(error), self._words(told(error))
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
    """The outputs of ``rows`` as Arrow columns; rows whose values are not of the promised type are errors.

    Raises OutputMismatch where that is all of them, and they are `ENOUGH`.
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
    clean = Gathered(found.rows)
    if len(fit):
        clean.put(fit, {name: values[fit] for name, values in arrays.items()}, signature)
    return clean.columns(signature), errors


def may_be_a_row(error: Exception) -> bool:
    """Whether an error may come of a row: not where model, job or device are not what they should be."""
    if isinstance(error, MillraceError) and not isinstance(error, RunFailed):
        return False  # a host says RunFailed of whatever the model raised in it
    return not is_lasting(error)


def is_lasting(error: BaseException) -> bool:
    """Whether the process that saw this can compute nothing any more: a new one must go on."""
    if not isinstance(error, Exception) or out_of_memory(error):
        return False
    return any(sign in f"{type(error).__name__}: {error}" for sign in _LASTING)


def told(error: Exception) -> str:
    """An error in a line: its kind, and so much of its text."""
    text = f"{error.what}; {error.got}" if isinstance(error, MillraceError) else str(error)
    line = f"{type(error).__name__}: {' '.join(text.split())[:_TEXT]}"
    return f"out of memory: {line}" if out_of_memory(error) else line


def withheld(reason: str) -> str:
    """What `told` says of an error without the error's own text, which may quote the row."""
    kind, colon, _ = reason.partition(":")
    return f"{kind}: its text is withheld, as contract.redact asks" if colon else kind


def cost_of(examples: Examples, index: NDArray[np.int64]) -> int:
    """Padded tokens of a batch, or its rows where all shapes are equal."""
    width = 1 if examples.lengths is None else int(examples.lengths[index].max())
    return len(index) * width


def _misfit(arrays: dict[str, NDArray[Any]], row: int, signature: Signature) -> str | None:
    try:
        for name, spec in signature.outputs.items():
            column_of(name, arrays[name][row : row + 1], spec)
    except OutputMismatch as error:
        return told(error)
    return None

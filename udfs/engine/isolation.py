"""The interface of a task's isolation: another process for windows at which an earlier attempt died."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

import pyarrow as pa


class Isolation(Protocol):
    """Computes suspect windows in another process."""

    def began(self, window: int) -> None:
        """Record that the task comes to a window, counted from 0."""
        ...

    def is_suspect(self, window: int) -> bool:
        """Whether to compute the window in the other process."""
        ...

    def scored(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Return the model's outputs for ``rows``, ``error`` and ``_meter``, as `score` yields them."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...

"""Windows at which a worker died, computed in a child process; if that dies too, in halves.

The row that kills the child becomes an error of kind ``crash``; all others are scored. A new child, which
must load the model again, starts only after one died.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

import pyarrow as pa

from millrace.schemas.errors import RunFailed
from millrace.udfs.engine.task_scoring import ERROR_TYPE, output_schema
from millrace.udfs.models import model_loading
from millrace.udfs.runtime.plan import Scorer
from millrace.udfs.worker.child_process import ChildProcess
from millrace.udfs.worker.journal import Journal

_ENOUGH = 4  # children that died of one row each, and none that scored anything: it is not the rows


class ProcessIsolation:
    """A task's journal, and a child process for the windows that it suspects."""

    def __init__(self, scorer: Scorer, gpu_addresses: Sequence[str], journal: Journal) -> None:
        plan = replace(scorer.plan, passthrough=(), max_failed_rows=None)
        self._request = (replace(scorer, plan=plan, host="off"), list(gpu_addresses))
        self._journal = journal
        self._timeout_s = plan.batch_timeout_s
        self._child: ChildProcess | None = None
        self._scored, self._died = False, 0

    def began(self, window: int) -> None:
        """Record the window, counted from 0, that the task comes to."""
        self._journal.began(window)

    def is_suspect(self, window: int) -> bool:
        """Whether an earlier attempt died at the window."""
        return self._journal.is_suspect(window)

    def scored(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Return outputs, ``error`` and ``_meter`` of the model's inputs ``rows``, in order.

        Raises what a child raises, and RunFailed if no child can load the model or score a row.
        """
        return pa.concat_batches(list(self._pieces(rows, is_deadly=False)))

    def __enter__(self) -> Self:
        self._journal.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._child is not None:
                self._child.end()
        finally:
            self._journal.__exit__(kind, error, trace)

    def _pieces(self, rows: pa.RecordBatch, *, is_deadly: bool) -> Iterator[pa.RecordBatch]:
        """``is_deadly``: what they are half of killed a child, and the other half did not."""
        death = ""
        if not is_deadly or rows.num_rows == 1:
            answer = self._answer(rows)
            if isinstance(answer, pa.RecordBatch):
                yield answer
                return
            death = answer
        if rows.num_rows == 1:
            yield self._lost(death)
            return
        half = rows.num_rows // 2
        before = self._died
        yield from self._pieces(rows.slice(0, half), is_deadly=False)
        yield from self._pieces(rows.slice(half), is_deadly=self._died == before)

    def _answer(self, rows: pa.RecordBatch) -> pa.RecordBatch | str:
        """What the child made of the rows, or how it died."""
        if self._child is None:
            self._child = ChildProcess(self._request)
        try:
            made = self._child.scored(rows)
        except (EOFError, OSError):
            death = self._child.death(self._timeout_s)
            self._child = None
            return death
        self._scored = True
        return made

    def _lost(self, death: str) -> pa.RecordBatch:
        """The row that a child died of."""
        self._died += 1
        if self._died >= _ENOUGH and not self._scored:
            raise RunFailed(
                "the model ends its process, whatever row it is given",
                got=f"{self._died} of {self._died} rows: {death}",
                next="see the executors' standard error for where; correct the model or its runtime",
            )
        scorer, _ = self._request
        schema = output_schema(pa.schema([]), model_loading.read_card(scorer.folder).signature)
        columns = {field.name: pa.nulls(1, field.type) for field in schema}
        columns["error"] = pa.array([{"kind": "crash", "message": death}], ERROR_TYPE)
        return pa.RecordBatch.from_pydict(columns, schema=schema)

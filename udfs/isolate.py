"""Windows at which a worker died, computed in a child process: when that dies too, in halves.

``python -m udfs.isolate DESCRIPTOR`` is the child. It loads the model itself, and answers one piece of a
window after the other. The row it dies of becomes an error of kind ``crash``; all others are scored. A
new child, which must load the model again, is started only after one died.
"""

from __future__ import annotations

import ctypes
import io
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import pyarrow as pa

from schemas.errors import MillraceError, RunFailed
from udfs import watchdog
from udfs.child import environment
from udfs.engine import ERROR_TYPE, Scoring, output_schema
from udfs.journal import Journal
from udfs.models import base
from udfs.plan import Scorer
from udfs.poison import is_lasting

_ENOUGH = 4  # children that died of one row each, and none that scored anything: it is not the rows
_LOST_S = 30  # what is left of a child that says nothing more has so long to end
_END_OF_LOG = 2000  # characters
_PR_SET_PDEATHSIG = 1


class Isolated:
    """A task's journal, and the child process for the windows that it suspects."""

    def __init__(self, scorer: Scorer, gpu_addresses: Sequence[str], journal: Journal) -> None:
        plan = replace(scorer.plan, passthrough=(), max_failed_rows=None)
        self._asked = (replace(scorer, plan=plan, host="off"), list(gpu_addresses))
        self._journal = journal
        self._timeout_s = plan.batch_timeout_s
        self._child: Child | None = None
        self._scored, self._died = False, 0

    def began(self, window: int) -> None:
        """Note the window, counted from 0, that the task comes to."""
        self._journal.began(window)

    def is_suspect(self, window: int) -> bool:
        """Whether an earlier attempt died at it."""
        return self._journal.is_suspect(window)

    def scored(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Outputs, ``error`` and ``_meter`` of the model's inputs ``rows``, in their order.

        Raises what a child raises, and RunFailed where none of them can load the model or score a row.
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
            self._child = Child(self._asked)
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
        scorer, _ = self._asked
        schema = output_schema(pa.schema([]), base.read_card(scorer.folder).signature)
        columns = {field.name: pa.nulls(1, field.type) for field in schema}
        columns["error"] = pa.array([{"kind": "crash", "message": death}], ERROR_TYPE)
        return pa.RecordBatch.from_pydict(columns, schema=schema)


class Child:
    """One process that has loaded the model."""

    def __init__(self, asked: tuple[Scorer, list[str]]) -> None:
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the child
        self._connection, there = Pipe()
        with there:
            self._process = _started(there.fileno(), asked[0].runtime.threads, self._log)
        self._connection.send_bytes(pickle.dumps(asked))
        try:
            self._receive()
        except EOFError:
            raise RunFailed(
                "a process of its own cannot load the model",
                got=f"{self.death(None)}: {self._told()[-500:]}",
                next="see whether it has the memory; without run.journal rows are not computed apart",
            ) from None
        except BaseException:
            self.end()
            raise

    def scored(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """The rows' outputs, errors and meters. Raises EOFError or OSError where it dies over them."""
        self._connection.send_bytes(_packed(rows))
        return _unpacked(self._receive())

    def death(self, timeout_s: float | None) -> str:
        """How it died; from now on it is dead in any case."""
        self._connection.close()
        try:
            code = self._process.wait(_LOST_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        told = self._told()
        self._log.close()
        if code == watchdog.EXIT_CODE and watchdog.TOLD in told:
            return f"no answer within {timeout_s:g} s"
        if code < 0:
            return f"the process ended by {signal.Signals(-code).name}"
        return f"the process ended with exit code {code}"

    def end(self) -> None:
        """It has answered what it will be asked."""
        self._connection.close()
        self._process.kill()
        self._process.wait()
        self._log.close()

    def _receive(self) -> bytes:
        """The next answer. Raises the error that it holds."""
        failed, content = pickle.loads(self._connection.recv_bytes())  # noqa: S301 - our own child
        if failed:
            raise content
        answer: bytes = content
        return answer

    def _told(self) -> str:
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - 64 * _END_OF_LOG))
        return self._log.read().decode(errors="replace").strip()


def _started(descriptor: int, threads: int, log: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - this very interpreter
        [sys.executable, "-W", "ignore", "-m", "udfs.isolate", str(descriptor)],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=environment(threads),
        pass_fds=(descriptor,),
    )


def _packed(batch: pa.RecordBatch) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


def _unpacked(content: bytes) -> pa.RecordBatch:
    return pa.ipc.open_stream(content).read_next_batch()


# The child


def main(descriptor: str) -> None:
    """Answer until the other side is gone."""
    _end_with_parent()
    from udfs import failpoint
    from udfs.allocator import keep_freed_memory
    from udfs.meter import Meter, Place
    from udfs.placing import model_of

    keep_freed_memory()
    connection: Connection[Any, Any] = Connection(int(descriptor))
    scorer, gpu_addresses = pickle.loads(connection.recv_bytes())  # noqa: S301 - from our own parent
    try:
        model = failpoint.around(model_of(scorer, gpu_addresses))
        _send(connection, failed=False, content=b"ready")
    except Exception as error:  # noqa: BLE001 - the parent raises it
        _send(connection, failed=True, content=error)
        return
    task = Scoring(model, scorer.plan, Meter(Place()))
    with suppress(EOFError):
        while True:
            rows = _unpacked(connection.recv_bytes())
            try:
                made = _packed(task.scored(rows, model.decode(rows)))
            except Exception as error:
                if is_lasting(
                    error
                ):  # then this process dies of it, and its parent halves the rows
                    raise
                _send(connection, failed=True, content=error)
            else:
                _send(connection, failed=False, content=made)


def _send(connection: Connection[Any, Any], *, failed: bool, content: Any) -> None:
    if failed and not isinstance(content, MillraceError):  # others may not be unpickled there
        content = RunFailed(
            "the model failed in a process of its own",
            got=f"{type(content).__name__}: {content}"[:_END_OF_LOG],
            next="correct the model, or its input",
        )
    connection.send_bytes(pickle.dumps((failed, content)))


def _end_with_parent() -> None:
    """Linux ends this process with its parent, and before it when memory is short."""
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1])

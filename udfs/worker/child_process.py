"""A child process that has loaded the model and scores rows on request."""

from __future__ import annotations

import io
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from multiprocessing import Pipe
from typing import IO

import pyarrow as pa

from millrace.schemas.errors import RunFailed
from millrace.udfs.runtime import watchdog
from millrace.udfs.runtime.child_environment import environment
from millrace.udfs.runtime.plan import Scorer

_LOST_S = 30  # what is left of a child that says nothing more has so long to end
END_OF_LOG = 2000  # characters


class ChildProcess:
    """A child process that has loaded the model."""

    def __init__(self, request: tuple[Scorer, list[str]]) -> None:
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the child
        self._connection, there = Pipe()
        with there:
            self._process = _started(there.fileno(), request[0].runtime.threads, self._log)
        self._connection.send_bytes(pickle.dumps(request))
        try:
            self._receive()
        except EOFError:
            raise RunFailed(
                "a process of its own cannot load the model",
                got=f"{self.death(None)}: {self._log_tail()[-500:]}",
                next="see whether it has the memory; without run.journal rows are not computed apart",
            ) from None
        except BaseException:
            self.end()
            raise

    def scored(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Return the rows' outputs, errors and meters. Raises EOFError or OSError if the child dies."""
        self._connection.send_bytes(packed(rows))
        return unpacked(self._receive())

    def death(self, timeout_s: float | None) -> str:
        """Describe how the child died; it is dead afterwards in any case."""
        self._connection.close()
        try:
            code = self._process.wait(_LOST_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        log = self._log_tail()
        self._log.close()
        if code == watchdog.EXIT_CODE and watchdog.DUMP_PREFIX in log:
            return f"no answer within {timeout_s:g} s"
        if code < 0:
            return f"the process ended by {signal.Signals(-code).name}"
        return f"the process ended with exit code {code}"

    def end(self) -> None:
        """Stop the process."""
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

    def _log_tail(self) -> str:
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - 64 * END_OF_LOG))
        return self._log.read().decode(errors="replace").strip()


def _started(descriptor: int, threads: int, log: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - this very interpreter
        [
            sys.executable,
            "-P",
            "-W",
            "ignore",
            "-m",
            "millrace.udfs.worker.isolated_scoring",
            str(descriptor),
        ],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=environment(threads),
        pass_fds=(descriptor,),
    )


def packed(batch: pa.RecordBatch) -> bytes:
    """Return a batch as Arrow's stream format."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


def unpacked(content: bytes) -> pa.RecordBatch:
    """Return the batch that `packed` wrote."""
    return pa.ipc.open_stream(content).read_next_batch()

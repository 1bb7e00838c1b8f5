"""``python -m millrace.udfs.worker.isolated_scoring DESCRIPTOR``: scores rows from a connection.

The program of `ChildProcess`. It loads the model itself, and answers one batch of rows after the other.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from millrace.schemas.errors import MillraceError, RunFailed
from millrace.udfs.engine.row_isolation import is_lasting
from millrace.udfs.engine.task_scoring import Scoring
from millrace.udfs.worker.child_process import END_OF_LOG, packed, unpacked

_PR_SET_PDEATHSIG = 1


def main(descriptor: str) -> None:
    """Answer requests until the parent is gone."""
    _end_with_parent()
    from millrace.udfs.engine import fault_injection
    from millrace.udfs.engine.metering import Meter, TaskAttempt
    from millrace.udfs.runtime.memory import keep_freed_memory
    from millrace.udfs.worker.model_placement import model_of

    keep_freed_memory()
    connection: Connection[Any, Any] = Connection(int(descriptor))
    scorer, gpu_addresses = pickle.loads(connection.recv_bytes())  # noqa: S301 - from our own parent
    try:
        model = fault_injection.around(model_of(scorer, gpu_addresses))
        _send(connection, failed=False, content=b"ready")
    except Exception as error:  # noqa: BLE001 - the parent raises it
        _send(connection, failed=True, content=error)
        return
    task = Scoring(model, scorer.plan, Meter(TaskAttempt()))
    with suppress(EOFError):
        while True:
            rows = unpacked(connection.recv_bytes())
            try:
                made = packed(task.scored(rows, model.decode(rows)))
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
            got=f"{type(content).__name__}: {content}"[:END_OF_LOG],
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

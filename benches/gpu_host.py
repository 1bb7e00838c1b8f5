"""The host process that owns a GPU: what 1, 2, 4 and 8 clients get together, against a bare loop."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa

from benches import encoder

CLIENTS = (1, 2, 4, 8)
ROWS = 64  # of a client's batch
DEVICE, PRECISION = "cuda:0", "bf16"
_JOIN_ROWS = 256  # the host may join as much as four clients send


def clients(folder: Path, seconds: float, device: str = DEVICE) -> dict[str, Any]:
    """Rows a second of all clients together, and the bare loop's with the same rows and precision.

    The bare loop runs in a process of its own, and so does each client: none shares a lock with another.
    """
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(1) as pool:
        bare = pool.apply(_bare, (str(folder), seconds, device))
    lines = []
    for many in CLIENTS:
        with tempfile.TemporaryDirectory(prefix="mb-") as place, spawn.Pool(many) as pool:
            ready = spawn.Manager().Barrier(many)
            asked = [(str(folder), seconds, device, place, os.getpid(), ready)] * many
            found = pool.starmap(_client, asked, 1)
        total = sum(rows for rows, _ in found) / max(took for _, took in found)
        lines.append(
            {
                "clients": many,
                "rows_per_s": round(total, 1),
                "of_bare_loop": round(total / bare, 3),
            }
        )
        print(lines[-1], flush=True)
    four = next(one["of_bare_loop"] for one in lines if one["clients"] == 4)
    return {
        "rows_a_batch": ROWS,
        "precision": PRECISION,
        "bare_rows_per_s": round(bare, 1),
        "lines": lines,
        "least": 0.95,
        "holds": four >= 0.95,
    }


def _bare(folder: str, seconds: float, device: str) -> float:
    """Rows a second of one process that owns the model."""
    from millrace.udfs.models.model_loading import digest_of, load
    from millrace.udfs.runtime.plan import Runtime

    path = Path(folder)
    model = load(path, digest_of(path), Runtime(device, "torch", PRECISION))
    rows, took = _counted(model, seconds)
    return rows / took


def _client(
    folder: str, seconds: float, device: str, place: str, owner: int, ready: Any
) -> tuple[int, float]:
    """The rows that one client got answered, and the seconds that took; all clients begin together."""
    from millrace.udfs.host.address import HostSpec
    from millrace.udfs.host.client import hosted
    from millrace.udfs.models.model_loading import digest_of
    from millrace.udfs.runtime.plan import Runtime

    path = Path(folder)
    where = HostSpec(
        Path(place), owner, device, limit_bytes=64 << 30, join_rows=_JOIN_ROWS,
        join_tokens=_JOIN_ROWS * encoder.TOKENS,
    )  # fmt: skip
    model = hosted(path, digest_of(path), Runtime(device, "torch", PRECISION), where)
    return _counted(model, seconds, ready)


def _counted(model: Any, seconds: float, ready: Any = None) -> tuple[int, float]:
    """Rows predicted in at least ``seconds``, and the seconds; the first batches are not counted."""
    batch = pa.RecordBatch.from_pydict({"text": encoder.texts(ROWS)})
    values = model.decode(batch).values
    for _ in range(3):
        model.predict(values)
    if ready is not None:
        ready.wait()
    rows, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        rows += len(next(iter(model.predict(values).values())))
    return rows, time.perf_counter() - started

"""Starts a calibration in a child process, and collects its measurements."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pyarrow as pa

from millrace.schemas.calibration import CalibrationRequest, Measurement, merged
from millrace.udfs.engine.row_isolation import withheld
from millrace.udfs.runtime.child_environment import environment

TIMEOUT_S = 500  # less than Spark lets a worker be silent
SAMPLE_ROWS = 4096
SAMPLE_BYTES = 32 << 20
_LOG_TAIL_CHARS = 800  # last characters of what a child that died has said
_COMPUTES = ("torch", "openvino", "onnxruntime", "transformers")


def measured(request: CalibrationRequest, sample: pa.RecordBatch) -> list[Measurement]:
    """Return the measurements of a child process; if it died, a last one has the reason."""
    with tempfile.TemporaryDirectory(prefix="millrace-calibrate-") as folder:
        request_file, rows = Path(folder, "request.json"), Path(folder, "sample.arrow")
        request_file.write_text(request.model_dump_json(), "utf-8")
        with pa.OSFile(str(rows), "wb") as file, pa.ipc.new_file(file, sample.schema) as writer:
            writer.write_batch(sample)
        code, out, log = _child([str(request_file), str(rows)], request.threads)
    lines = [line for line in out.splitlines() if line.strip()]
    found = merged(map(Measurement.model_validate_json, lines))
    if code:
        died = f"the process that measured it ended with {code}: {log.strip()[-_LOG_TAIL_CHARS:]}"
        died = withheld(died) if request.hides_values else died
        found.append(Measurement(backend="next", precision="unknown", why=died))
    return found


def sample_of(batches: Iterator[pa.RecordBatch]) -> pa.RecordBatch | None:
    """Join the rows of ``batches``, up to `SAMPLE_ROWS` and about `SAMPLE_BYTES`; None for no rows."""
    pieces: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        if rows < SAMPLE_ROWS and size < SAMPLE_BYTES and batch.num_rows:
            pieces.append(batch.slice(0, SAMPLE_ROWS - rows))
            rows, size = rows + pieces[-1].num_rows, size + pieces[-1].nbytes
    return pa.concat_batches(pieces) if pieces else None


def machine(device: str) -> str:
    """Return what decides speed and precision here, as JSON: processor or GPU, and package versions."""
    from millrace.udfs.backends.hardware import name_of

    versions = {}
    for package in _COMPUTES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return json.dumps({"name": name_of(device), "versions": versions}, sort_keys=True)


def _child(arguments: list[str], threads: int) -> tuple[int, str, str]:
    """The child's exit code, standard output and error; its own interpreter finds what ours does."""
    command = [
        sys.executable,
        "-P",
        "-W",
        "ignore",
        "-m",
        "millrace.udfs.calibration.measure",
        *arguments,
    ]
    try:
        done = subprocess.run(  # noqa: S603 - this very interpreter
            command,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            env=environment(threads),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        out = error.stdout or b""
        return -9, out.decode() if isinstance(out, bytes) else out, f"no end after {TIMEOUT_S} s"
    return done.returncode, done.stdout, done.stderr

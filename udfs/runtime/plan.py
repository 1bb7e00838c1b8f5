"""The plan of a worker: small values, pickled into every task, in a module that imports nothing large."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Runtime:
    """The device and way that a model computes. ``device`` may be ``auto``; the rest is resolved."""

    device: str = "auto"  # auto, cpu, cuda or cuda:N
    backend: str = "torch"  # torch, torch_compile, onnxruntime or openvino
    precision: str = "fp32"  # fp32, bf16, fp16 or int8
    threads: int = 1  # cores that a call of the model may use
    streams: int = 1  # calls at the same time, in threads of one process


@dataclass(frozen=True)
class Plan:
    """What a worker reads, passes through, and computes at a time."""

    inputs: tuple[str, ...]
    passthrough: tuple[str, ...] = ()
    batch_rows: int | None = None  # pinned; None: found by measuring
    window_rows: int = 4096  # decoded, ordered, metered and handed back together, at most
    batch_cost: int | None = None  # a size that was found good (udfs/engine/batch_sizing.py)
    too_large: int | None = None  # a size for which memory did not suffice
    decode_ahead: bool = False  # in a thread: where there is a core for it, or a GPU computes
    max_failed_rows: int | None = None  # a task that has more fails; None: any number
    journal: str | None = (
        None  # a folder, one a unit: finds the row that a worker died of; None: off
    )
    counts: str | None = (
        None  # a folder, one a unit: rows finished so far, for who waits; None: nobody
    )
    batch_timeout_s: float | None = None  # a call that takes longer ends its worker; None: it may
    hides_values: bool = False  # report only the kind of a row's error: its text may quote the row
    identity: str | None = None  # a column: rows with the same value are computed once; None: all
    known: str | None = (
        None  # a column of structs: outputs that are known, null for rows to compute
    )


@dataclass(frozen=True)
class Scorer:
    """All that a worker needs to score: model, runtime, plan, and the start of the clock."""

    folder: Path
    digest: str
    runtime: Runtime
    plan: Plan
    application: str  # Spark's id of it
    submitted_at: float  # seconds since 1970; a worker born later owes its start-up to this stage
    host: str = "auto"  # auto, on or off: whether a process of its own holds the model

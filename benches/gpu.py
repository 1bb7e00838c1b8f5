"""What a GPU gives: batch sizes, precisions, the host with 1 to 8 clients, flops used, memory running out.

Needs no Spark. Written for real and not yet run on a GPU: it ends with exit code 2 where torch sees none.

  python -m benches.gpu
  python -m benches.gpu --seconds 2 --only speed,host
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benches import encoder, gpu_host
from benches.machine import machine, slug, versions

RESULTS = Path("benches/results")
CACHE = Path("build/bench/gpu")
ROWS = (1, 8, 16, 32, 64, 128, 256, 512)
PRECISIONS = ("fp32", "bf16", "fp16")
# Dense 16-bit tensor peak in flop/s, as the vendor's data sheets state it, without sparsity.
PEAKS = {
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10G": 70e12,
    "A10": 125e12,
    "T4": 65e12,
}
_WARM_UP_CALLS = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; an exit code: 2 without a GPU, 1 where a part did not hold what it should."""
    given = _parser().parse_args(arguments)
    import torch

    if not torch.cuda.is_available():
        print(
            "benches.gpu needs a CUDA device: torch sees none "
            f"(torch {torch.__version__}, built for CUDA {torch.version.cuda}); nothing was measured",
            file=sys.stderr,
        )
        return 2
    folder = encoder.encoder_folder(CACHE / "encoder")
    parts: dict[str, Callable[[], Any]] = {
        "speed": lambda: speeds(folder, given.seconds),
        "host": lambda: gpu_host.clients(folder, given.seconds),
        "memory": lambda: out_of_memory(folder),
    }
    found = {name: part() for name, part in parts.items() if name in given.only}
    result = {"device": device(), "machine": machine(), "versions": versions(), **found}
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / f"gpu-{slug(result['device']['name'])}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(json.dumps(found, indent=1))
    print(path)
    return 0 if all(one.get("holds", True) for one in found.values()) else 1


def device() -> dict[str, Any]:
    """The first GPU: its name, memory and dense 16-bit peak, looked up or else measured."""
    import torch

    name = torch.cuda.get_device_name(0)
    known = next((peak for part, peak in PEAKS.items() if part in name), None)
    return {
        "name": name,
        "memory_gb": round(torch.cuda.get_device_properties(0).total_memory / 1e9, 1),
        "peak_flop_per_s": known,
        "matmul_flop_per_s": _matmul_rate(),  # what a large product reaches: the practical ceiling
    }


def speeds(folder: Path, seconds: float) -> dict[str, Any]:
    """Rows a second and the share of the peak that they use, by precision and batch size."""
    import torch

    about, lines = device(), []
    peak = about["peak_flop_per_s"] or about["matmul_flop_per_s"]
    for precision in PRECISIONS:
        network = encoder.network(folder, precision, "cuda:0")
        for rows in ROWS:
            tokens = torch.from_numpy(encoder.token_ids(rows)).cuda()
            call_s = _call_s(partial(network, input_ids=tokens), seconds)
            lines.append(
                {
                    "precision": precision,
                    "rows": rows,
                    "call_ms": round(call_s * 1e3, 3),
                    "rows_per_s": round(rows / call_s, 1),
                    "tokens_per_s": round(rows * encoder.TOKENS / call_s),
                    "flops_utilisation": round(encoder.flops(rows) / call_s / peak, 4),
                }
            )
            print(lines[-1], flush=True)
        del network
        torch.cuda.empty_cache()
    best = max(one["flops_utilisation"] for one in lines if one["precision"] == "bf16")
    is_known = about["peak_flop_per_s"] is not None
    return {
        "tokens_a_row": encoder.TOKENS,
        "peak_is": "data sheet" if is_known else "a large product measured here",
        "lines": lines,
        "best_bf16_flops_utilisation": best,
        "least": 0.5,
        "holds": best >= 0.5,
    }


def out_of_memory(folder: Path) -> dict[str, Any]:
    """Whether the engine halves batches that do not fit, and still answers every row alike.

    The process is held to so little memory that 512 rows of 256 tokens do not fit.
    """
    import numpy as np
    import pyarrow as pa
    import torch

    from millrace.udfs.engine.metering import Meter, TaskAttempt
    from millrace.udfs.engine.scoring import score
    from millrace.udfs.models.model_loading import digest_of, load
    from millrace.udfs.runtime.plan import Plan, Runtime

    model = load(folder, digest_of(folder), Runtime("cuda:0", "torch", "bf16"))
    table = pa.table({"text": encoder.texts(1024)})
    total = torch.cuda.get_device_properties(0).total_memory

    def embedded(rows: int) -> tuple[Any, int]:
        plan = Plan(inputs=("text",), batch_rows=rows)
        made = list(score(table.to_batches(), lambda: model, plan, Meter(TaskAttempt())))
        calls = sum(
            one["model_batches"] for b in made for one in b.column("_meter").to_pylist() if one
        )
        flat = pa.Table.from_batches(made).column("embedding").combine_chunks().flatten()
        return flat.to_numpy().reshape(table.num_rows, -1), calls

    plain, _ = embedded(16)
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_allocated() + 600e6) / total)
    try:
        squeezed, calls = embedded(1024)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    cosine = float(np.einsum("rw,rw->r", plain, squeezed).min())
    return {
        "asked_rows": 1024,
        "calls": calls,
        "min_cosine": round(cosine, 6),
        "holds": calls > 1 and cosine >= 0.999,
    }


def _call_s(call: Callable[[], Any], seconds: float) -> float:
    """Seconds a call, by the device's own clock, over as many calls as fit into ``seconds``."""
    import torch

    with torch.inference_mode():
        for _ in range(_WARM_UP_CALLS):
            call()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        call()
        end.record()
        torch.cuda.synchronize()
        many = max(3, int(seconds * 1e3 / max(start.elapsed_time(end), 1e-3)))
        start.record()
        for _ in range(many):
            call()
        end.record()
        torch.cuda.synchronize()
    return float(start.elapsed_time(end) / 1e3 / many)


def _matmul_rate(size: int = 8192) -> float:
    """Flops a second of a large bf16 product."""
    import torch

    left, right = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return round(2 * size**3 / _call_s(lambda: left @ right, 1.0))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benches.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    every = ("speed", "host", "memory")
    parser.add_argument("--seconds", type=float, default=5.0, help="measured for each line")
    parser.add_argument("--only", type=lambda text: text.split(","), default=every)
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())

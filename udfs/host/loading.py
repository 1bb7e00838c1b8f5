"""Loads and unloads models in a host, and estimates their memory."""

from __future__ import annotations

import gc
import sys
from math import prod
from pathlib import Path

import psutil
from safetensors import SafetensorError, safe_open

from millrace.udfs.models.model_loading import Model, opened, read_card
from millrace.udfs.runtime.plan import Runtime

_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2, "int8": 1}  # of one weight in memory
_SHARE_OF_CPU, _SHARE_OF_CUDA = 0.5, 0.9  # Spark and the workers live in the CPU's memory too
_GRAPHS = (".onnx", ".data", ".bin", ".ts")
_MARGIN = 1.25  # buffers, embeddings that stay in fp32, the allocator's rounding


def estimate_bytes(folder: Path, runtime: Runtime) -> int:
    """Estimate the memory of a model's weights, slightly too high.

    From their number and precision; for graphs, from the sizes of their files.
    """
    names = read_card(folder).files
    weights = sum(_weights(folder / name) for name in names if name.endswith(".safetensors"))
    graphs = sum((folder / name).stat().st_size for name in names if name.endswith(_GRAPHS))
    return int((weights * _BYTES[runtime.precision] + graphs) * _MARGIN)


def loaded(folder: Path, digest: str, runtime: Runtime) -> tuple[Model, int]:
    """Load and verify the model; return it and its bytes, measured on CUDA, else estimated."""
    before = _cuda_bytes(runtime.device)
    model = opened(folder, digest, runtime)
    took = _cuda_bytes(runtime.device) - before
    return model, took or estimate_bytes(folder, runtime)


def limit_bytes(device: str) -> int:
    """Return the default memory limit of models. Only the host calls it: querying CUDA allocates memory."""
    if not device.startswith("cuda"):
        return int(_SHARE_OF_CPU * psutil.virtual_memory().total)
    import torch

    return int(_SHARE_OF_CUDA * torch.cuda.get_device_properties(device).total_memory)


def freed() -> None:
    """Return the memory of unreferenced models to the device."""
    gc.collect()
    if (torch := sys.modules.get("torch")) is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _weights(path: Path) -> int:
    """How many numbers a file of weights has; 0 for one that cannot be read: loading says what is wrong."""
    try:
        with safe_open(path, framework="numpy") as file:
            return sum(prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    except (SafetensorError, OSError):
        return 0


def _cuda_bytes(device: str) -> int:
    if not device.startswith("cuda"):
        return 0
    import torch

    return torch.cuda.memory_allocated(device)

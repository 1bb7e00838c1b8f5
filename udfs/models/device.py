"""Which device a worker computes on; what was asked for is what is got, or an error."""

from __future__ import annotations

from typing import Any

import torch

from schemas.errors import RunFailed


def resolve(asked: str) -> torch.device:
    """The torch device for ``auto``, ``cpu`` or ``cuda``. Raises RunFailed for CUDA that is not there."""
    has_cuda = torch.cuda.is_available()
    if asked == "cuda" and not has_cuda:
        raise RunFailed(
            "the job asks for CUDA and this worker has none",
            got=f"torch {torch.__version__}, torch.cuda.is_available() is False",
            allowed="device: cuda on workers with a GPU, else device: cpu or auto",
            next="set engine.device",
        )
    return torch.device("cuda" if has_cuda and asked != "cpu" else "cpu")


def to_device(value: Any, device: torch.device) -> torch.Tensor:
    """A NumPy array as a tensor on ``device``; on the CPU it shares the array's memory where it may."""
    return torch.as_tensor(value).to(device)

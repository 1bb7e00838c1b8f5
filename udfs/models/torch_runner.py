"""Backend ``torch``, and ``torch_compile``: the graph run by torch itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from schemas.model import ModelCard
from udfs.models.graph import graph_of, in_precision
from udfs.models.loaded import Arrays, Runner
from udfs.plan import Runtime


def torch_runner(folder: Path, card: ModelCard, runtime: Runtime) -> Runner:
    """The folder's graph in the runtime's precision, on its device."""
    torch.set_num_threads(runtime.threads)
    graph: nn.Module = in_precision(graph_of(folder, card), runtime.precision)
    return TorchRunner(graph)


class TorchRunner:
    """A graph on the CPU. Arrays in and out share their memory with tensors where they may."""

    def __init__(self, graph: nn.Module) -> None:
        self.graph = graph

    @torch.inference_mode()
    def run(self, arrays: Arrays) -> NDArray[np.float32]:
        """The graph's last tensor."""
        found: NDArray[np.float32] = self.graph(*map(tensor_of, arrays)).numpy()
        return found


def tensor_of(array: NDArray[Any]) -> Tensor:
    """The array's memory as a tensor; copied where it is read-only, as Arrow's buffers are."""
    return torch.from_numpy(array if array.flags.writeable else array.copy())

"""Backends ``torch`` and ``torch_compile``: the graph run by torch itself."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, cast

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
    graph = in_precision(graph_of(folder, card), runtime.precision)
    if runtime.device != "cpu":
        from udfs.models.cuda_runner import CudaRunner

        has_fixed_shape = card.preprocess.name != "tokens" and runtime.backend == "torch"
        return CudaRunner(compiled(graph, runtime), runtime.device, replays=has_fixed_shape)
    torch.set_num_threads(runtime.threads)
    return TorchRunner(compiled(graph, runtime))


def compiled(graph: nn.Module, runtime: Runtime) -> nn.Module:
    """The graph, by torch.compile where the backend says so: once for all numbers of rows and lengths."""
    if runtime.backend != "torch_compile":
        return graph
    with warnings.catch_warnings():  # of a module of torch that torch.compile imports
        warnings.filterwarnings("ignore", r"`torch\.jit\.script_method` is deprecated")
        return cast("nn.Module", torch.compile(graph, dynamic=True))


class TorchRunner:
    """A graph on the CPU. Arrays in and out share their memory with tensors where they may.

    The same arrays give the same bits. Another batch may change a row's last bits, in fp32 by less
    than 1e-6: products of fewer than four rows a thread take other kernels, and sums over tokens
    are cut into other blocks where the padding is another (docs/adr/0011).
    """

    def __init__(self, graph: nn.Module) -> None:
        self.graph = graph

    @torch.inference_mode()
    def run(self, arrays: Arrays) -> NDArray[np.float32]:
        """The graph's last tensor."""
        found: NDArray[np.float32] = self.graph(*map(tensor_of, arrays)).float().numpy()
        return found


def tensor_of(array: NDArray[Any]) -> Tensor:
    """The array's memory as a tensor; copied where it is read-only, as Arrow's buffers are."""
    return torch.from_numpy(array if array.flags.writeable else array.copy())

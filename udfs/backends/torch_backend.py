"""Backends ``torch`` and ``torch_compile``: the graph run by torch itself."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from millrace.schemas.model import ModelCard
from millrace.udfs.backends.runner import Arrays, Runner
from millrace.udfs.graphs.build import graph_of, in_precision
from millrace.udfs.runtime.plan import Runtime


def torch_runner(folder: Path, card: ModelCard, runtime: Runtime) -> Runner:
    """Load the folder's graph in the runtime's precision, on its device."""
    graph = in_precision(graph_of(folder, card), runtime.precision)
    if runtime.device != "cpu":
        from millrace.udfs.backends.cuda_backend import CudaRunner

        has_fixed_shape = card.preprocess.name != "tokens" and runtime.backend == "torch"
        return CudaRunner(compiled(graph, runtime), runtime.device, replays=has_fixed_shape)
    torch.set_num_threads(runtime.threads)
    return TorchRunner(compiled(graph, runtime))


def compiled(graph: nn.Module, runtime: Runtime) -> nn.Module:
    """Compile the graph if the backend is torch_compile: once for all numbers of rows and lengths."""
    if runtime.backend != "torch_compile":
        return graph
    with warnings.catch_warnings():  # of a module of torch that torch.compile imports
        warnings.filterwarnings("ignore", r"`torch\.jit\.script_method` is deprecated")
        return cast("nn.Module", torch.compile(graph, dynamic=True))


class TorchRunner:
    """A graph on the CPU. Arrays share their memory with tensors where possible.

    The same arrays give the same bits. Another batch may change the last bits of a row, in fp32 by less than
    1e-6: products of fewer than four rows per thread use other kernels, and other padding splits sums over
    tokens into other blocks (docs/adr/0011).
    """

    def __init__(self, graph: nn.Module) -> None:
        self.graph = graph

    @torch.inference_mode()
    def run(self, arrays: Arrays) -> NDArray[np.float32]:
        """Return the graph's last tensor."""
        found: NDArray[np.float32] = self.graph(*map(tensor_of, arrays)).float().numpy()
        return found


def tensor_of(array: NDArray[Any]) -> Tensor:
    """Return a tensor of the array's memory; a copy if it is read-only, as Arrow's buffers are."""
    return torch.from_numpy(array if array.flags.writeable else array.copy())

"""A graph on a CUDA device: pinned copies on a stream of their own, and CUDA graphs for fixed shapes.

Untested: no GPU was available.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from millrace.udfs.backends.runner import Arrays

_MAX_REPLAYS = 8  # each keeps its buffers on the device
_WARM_UP_CALLS = (
    3  # cuDNN and cuBLAS choose and allocate in the first calls, which cannot be recorded
)
_SEEN_BEFORE_RECORDING = 2  # the last batch of a window has a shape that hardly comes again

Shape = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Replay:
    """A recorded forward pass: its input and output buffers, and the CUDA graph of its kernels."""

    inputs: tuple[Tensor, ...]
    output: Tensor
    graph: torch.cuda.CUDAGraph


class CudaRunner:
    """A graph on one CUDA device, for one caller at a time."""

    def __init__(self, graph: nn.Module, device: str, *, replays: bool) -> None:
        self.graph = graph.to(device)
        self._device = torch.device(device)
        self._copies = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        self._replays: dict[Shape, Replay] | None = {} if replays else None
        self._seen: dict[Shape, int] = {}

    @torch.inference_mode()
    def run(self, arrays: Arrays) -> NDArray[np.float32]:
        """Return the graph's last tensor, on the host."""
        given = self._on_device(arrays)
        output = self._computed(given)
        host = torch.empty(output.shape, dtype=torch.float32, pin_memory=True)
        host.copy_(output, non_blocking=True)
        torch.cuda.current_stream(self._device).synchronize()
        found: NDArray[np.float32] = host.numpy()
        return found

    def _on_device(self, arrays: Arrays) -> tuple[Tensor, ...]:
        """Copies by way of pinned memory: the device reads them while the host goes on."""
        computing = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._copies):
            pinned = [torch.from_numpy(np.array(array)).pin_memory() for array in arrays]
            given = tuple(one.to(self._device, non_blocking=True) for one in pinned)
        computing.wait_stream(self._copies)
        for one in given:
            one.record_stream(computing)  # or its memory could be given away while it is read
        return given

    def _computed(self, given: tuple[Tensor, ...]) -> Tensor:
        if self._replays is None:
            return self._float(given)
        shape = tuple(tuple(one.shape) for one in given)
        replay = self._replays.get(shape)
        if replay is None:
            self._seen[shape] = self._seen.get(shape, 0) + 1
            if self._seen[shape] <= _SEEN_BEFORE_RECORDING or len(self._replays) == _MAX_REPLAYS:
                return self._float(given)
            replay = self._replays[shape] = self._recorded(given)
        for buffer, one in zip(replay.inputs, given, strict=True):
            buffer.copy_(one)
        replay.graph.replay()
        return replay.output

    def _recorded(self, given: tuple[Tensor, ...]) -> Replay:
        inputs = tuple(one.clone() for one in given)
        aside = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UP_CALLS):
                self._float(inputs)
        torch.cuda.current_stream(self._device).wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # Without a stream torch takes one of the current device, on which nothing of this is computed:
        # the graph of any other device would be empty, and each replay give this batch's outputs.
        with torch.cuda.graph(graph, stream=aside):
            output = self._float(inputs)
        return Replay(inputs, output, graph)

    def _float(self, given: tuple[Tensor, ...]) -> Tensor:
        found: Tensor = self.graph(*given).float()
        return found

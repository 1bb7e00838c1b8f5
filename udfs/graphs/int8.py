"""int8 on the CPU: weights are rounded at load time, activations row by row at run time."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_LEVELS = 127


class Int8Linear(nn.Module):
    """A dense layer computed in int8, with one scale per output, and one per input row.

    Scales are per row, not per batch, so that a row's result does not depend on its neighbours.
    """

    weight: Tensor
    scale: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight, scale = _rounded(linear.weight.detach())
        self.register_buffer("weight", weight.t().contiguous())  # [inputs, outputs] int8
        self.register_buffer("scale", scale.t().contiguous())  # [1, outputs]
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., inputs]`` float32 to ``[..., outputs]`` float32."""
        rows, scale = _rounded(x.reshape(-1, x.shape[-1]))
        product = torch._int_mm(rows, self.weight)  # noqa: SLF001 - it has no public name yet
        found = product.float().mul_(scale).mul_(self.scale)
        if self.bias is not None:
            found.add_(self.bias)
        return found.reshape(*x.shape[:-1], -1)


def quantize_linears(network: nn.Module) -> None:
    """Replace every dense layer of ``network`` in place."""
    for name, child in network.named_children():
        if isinstance(child, nn.Linear):
            network.set_submodule(name, Int8Linear(child))
        else:
            quantize_linears(child)


def _rounded(x: Tensor) -> tuple[Tensor, Tensor]:
    """``[rows, width]`` as int8 and the scale of each row, ``[rows, 1]``."""
    scale = x.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / _LEVELS
    return (x / scale).round_().to(torch.int8), scale

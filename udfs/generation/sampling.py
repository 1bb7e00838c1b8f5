"""Choice of the next token: the likeliest, or one drawn by a generator of the row's own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from millrace.schemas.generation import Generation

Draw = torch.Generator | None
Choose = Callable[[Tensor, Sequence[Draw]], Tensor]


def chooser(options: Generation) -> Choose:
    """Return a function that chooses token ids ``[rows]``.

    Its arguments are logits ``[rows, vocabulary]``, and the generator of each row.
    """
    if not options.do_sample:
        return lambda logits, _draws: logits.argmax(dim=1)
    warp = LogitsProcessorList([TemperatureLogitsWarper(options.temperature)])
    if options.top_k:
        warp.append(TopKLogitsWarper(options.top_k))
    if options.top_p < 1:
        warp.append(TopPLogitsWarper(options.top_p))

    def sample(logits: Tensor, draws: Sequence[Draw]) -> Tensor:
        chances = torch.softmax(warp(None, logits), dim=1)
        # One draw a row: a call for all rows would take from one generator in the rows' order.
        drawn = [
            torch.multinomial(chance, 1, generator=draw)
            for chance, draw in zip(chances, draws, strict=True)
        ]
        return torch.cat(drawn)

    return sample


def draw_of(options: Generation, prompt: Sequence[int], device: torch.device) -> Draw:
    """Return a row's generator, seeded by seed and prompt: equal in any batch, order or partition."""
    if not options.do_sample:
        return None
    return torch.Generator(device).manual_seed(seed_of(options.seed, prompt))


def seed_of(seed: int, prompt: Sequence[int]) -> int:
    """Return 63 bits of the sha256 over the seed and the prompt's token ids."""
    content = np.array([seed, *prompt], "<i8").tobytes()
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "little") >> 1

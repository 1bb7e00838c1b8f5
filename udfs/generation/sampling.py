"""Which token comes next: the likeliest, or one drawn by a generator that belongs to its row alone."""

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

from schemas.generation import Generation

Draw = torch.Generator | None
Choose = Callable[[Tensor, Sequence[Draw]], Tensor]


def chooser(options: Generation) -> Choose:
    """From logits ``[rows, vocabulary]`` and each row's generator to token ids ``[rows]``."""
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
    """A row's own generator, seeded by seed and prompt: the same in any batch, order or partition."""
    if not options.do_sample:
        return None
    return torch.Generator(device).manual_seed(seed_of(options.seed, prompt))


def seed_of(seed: int, prompt: Sequence[int]) -> int:
    """63 bits of sha256 over the seed and the prompt's token ids."""
    content = np.array([seed, *prompt], "<i8").tobytes()
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "little") >> 1

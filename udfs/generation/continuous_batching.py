"""Continuous batching: rows generate together, leave when their texts end, and prompts take their slots."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from millrace.udfs.generation.kv_cache import Slots
from millrace.udfs.generation.sampling import Choose, Draw

PREFILL_TOKENS = 2048  # longest x rows of the prompts that are read in one forward
_JOIN_SHARE = 8  # prompts join when one slot in eight is free


@dataclass
class Row:
    """A prompt and the tokens generated after it."""

    prompt: Sequence[int]
    draw: Draw
    written: list[int] = field(default_factory=list)
    finish: str = ""  # eos, stop, length; `broken` where the logits are no numbers


@dataclass(frozen=True)
class Rules:
    """How tokens are chosen, and when a text ends."""

    choose: Choose
    ends: frozenset[int]  # the model's end tokens
    max_new_tokens: int
    stops: Callable[[Sequence[int]], bool]  # whether what is written holds a stop text


class Writer:
    """Generates texts with a causal network, at most ``slots.rows`` at a time."""

    def __init__(self, network: Any, rules: Rules, slots: Slots, device: torch.device) -> None:
        self._network, self._rules, self._slots, self._device = network, rules, slots, device
        self._active: list[Row] = []

    def write(self, rows: Sequence[Row]) -> None:
        """Generate all texts. The longest prompts go first, so that a batch has similar lengths."""
        waiting = deque(sorted(rows, key=lambda row: len(row.prompt), reverse=True))
        while waiting or self._active:
            if waiting and self._has_room():
                self._read(self._next(waiting))
            else:
                self._step()

    def _has_room(self) -> bool:
        free = self._slots.rows - len(self._active)
        return not self._active or free >= max(1, self._slots.rows // _JOIN_SHARE)

    def _next(self, waiting: deque[Row]) -> list[Row]:
        longest = len(waiting[0].prompt)
        free = self._slots.rows - len(self._active)
        count = min(free, len(waiting), max(1, PREFILL_TOKENS // longest))
        return [waiting.popleft() for _ in range(count)]

    def _read(self, rows: list[Row]) -> None:
        """Compute the prompts' keys and values, and choose each row's first token."""
        lengths = [len(row.prompt) for row in rows]
        width = max(lengths)
        ids = torch.zeros((len(rows), width), dtype=torch.long)
        mask = torch.zeros((len(rows), width), dtype=torch.bool)
        for at, row in enumerate(rows):  # padded at the left: all end in the same column
            ids[at, width - len(row.prompt) :] = torch.as_tensor(row.prompt)
            mask[at, width - len(row.prompt) :] = True
        positions = (mask.long().cumsum(1) - 1).clamp(min=0)
        filled = DynamicCache()  # every layer whole, whatever window it looks through
        logits = self._forward(ids, mask, positions, filled)
        self._slots.join(filled, lengths)
        self._active += rows
        self._choose(logits, len(self._active) - len(rows))

    def _step(self) -> None:
        self._slots.advance()
        ids = torch.tensor([[row.written[-1]] for row in self._active])
        logits = self._forward(ids, self._slots.mask, self._slots.positions, self._slots.cache)
        self._choose(logits, 0)

    def _forward(self, ids: Tensor, mask: Tensor, positions: Tensor, cache: Any) -> Tensor:
        """The last column's logits, ``[rows, vocabulary]`` float32."""
        output = self._network(
            input_ids=ids.to(self._device),
            attention_mask=mask.to(self._device),
            position_ids=positions.to(self._device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: Tensor = output.logits[:, -1].float()
        return logits

    def _choose(self, logits: Tensor, first: int) -> None:
        """Give the rows from ``first`` on their next tokens, and let those go that are done."""
        rows = self._active[first:]
        sound = logits.amax(dim=1).isfinite()
        chosen = self._rules.choose(
            logits.masked_fill(~sound.unsqueeze(1), 0.0), [row.draw for row in rows]
        )
        choices = zip(rows, chosen.tolist(), sound.tolist(), strict=True)
        for row, token, is_sound in choices:
            row.written.append(token)
            row.finish = self._finish(row) if is_sound else "broken"
        for at in range(len(self._active) - 1, first - 1, -1):
            if self._active[at].finish:
                self._slots.leave(at)
                self._active[at] = self._active[-1]
                self._active.pop()

    def _finish(self, row: Row) -> str:
        if row.written[-1] in self._rules.ends:
            return "eos"
        if self._rules.stops(row.written):
            return "stop"
        return "length" if len(row.written) >= self._rules.max_new_tokens else ""

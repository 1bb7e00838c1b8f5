"""The key-value cache of the rows in flight: slots in one buffer, written in place and freed one by one.

Transformers' DynamicCache copies every key and value of every row at each step, and again when a row
leaves. Here a step writes one column, and a row that leaves costs the copy of one row.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache

SPARE_COLUMNS = 64  # steps between two moves of everything to the buffer's left edge


class Slots:
    """``rows`` slots of ``width`` columns; the first ``count`` are in use.

    Rows end in the same column and begin in their own, ``firsts``; the columns before a row's first are
    masked. `cache` is the network's argument.
    """

    def __init__(self, rows: int, width: int, device: torch.device) -> None:
        self.rows, self.width = rows, width
        self.count = self.start = self.end = 0
        self.firsts: list[int] = []
        self._mask = torch.zeros((rows, width), dtype=torch.bool, device=device)
        self._layers: list[SlotLayer] = []

    @property
    def cache(self) -> Cache:
        """Return the layers as a Transformers cache."""
        return Cache(layers=self._layers)

    @property
    def mask(self) -> torch.Tensor:
        """Return the columns of the live region that belong to each row: ``[count, columns]``."""
        return self._mask[: self.count, self.start : self.end]

    @property
    def positions(self) -> torch.Tensor:
        """Return the position of each row's newest token: ``[count, 1]``."""
        last = [self.end - 1 - first for first in self.firsts]
        return torch.tensor(last, device=self._mask.device).unsqueeze(1)

    def join(self, filled: DynamicCache, lengths: Sequence[int]) -> None:
        """Add rows whose prompts are in ``filled``, padded at the left; none is longer than a slot."""
        if not self._layers:
            self._layers = [SlotLayer(self, layer.keys, layer.values) for layer in filled.layers]
        width = max(lengths)
        if not self.count:
            self.start, self.end = 0, width
        new = slice(self.count, self.count + len(lengths))
        for layer, other in zip(self._layers, filled.layers, strict=True):
            for buffer, fresh in ((layer.keys, other.keys), (layer.values, other.values)):
                # What a former row left may be NaN, which a weight of zero does not silence.
                buffer[new, :, self.start : self.end - width] = 0
                buffer[new, :, self.end - width : self.end] = fresh
        for row, length in enumerate(lengths, self.count):
            self._mask[row, : self.end] = False
            self._mask[row, self.end - length : self.end] = True
            self.firsts.append(self.end - length)
        self.count += len(lengths)

    def leave(self, row: int) -> None:
        """Free a row; the last row takes its place."""
        last = self.count - 1
        if row != last:
            live = slice(self.start, self.end)
            for layer in self._layers:
                layer.keys[row, :, live] = layer.keys[last, :, live]
                layer.values[row, :, live] = layer.values[last, :, live]
            self._mask[row, : self.end] = self._mask[last, : self.end]
            self.firsts[row] = self.firsts[last]
        self.firsts.pop()
        self.count = last
        self.start = min(self.firsts, default=self.end)

    def advance(self) -> None:
        """Open the column that the next forward pass writes."""
        if self.end == self.width:
            self._move_left()
        self._mask[: self.count, self.end] = True
        self.end += 1

    def _move_left(self) -> None:
        live, count = slice(self.start, self.end), self.count
        columns = self.end - self.start
        for layer in self._layers:
            layer.keys[:count, :, :columns] = layer.keys[:count, :, live].clone()
            layer.values[:count, :, :columns] = layer.values[:count, :, live].clone()
        self._mask[:count, :columns] = self._mask[:count, live].clone()
        self.firsts = [first - self.start for first in self.firsts]
        self.start, self.end = 0, columns


class SlotLayer(CacheLayerMixin):  # type: ignore[misc]  # Transformers is not typed
    """One layer's keys and values, ``[rows, heads, width, dimensions]``; attention sees the live region."""

    def __init__(self, slots: Slots, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()
        self._slots = slots
        self.keys, self.values = (
            torch.zeros(
                (slots.rows, one.shape[1], slots.width, one.shape[3]),
                dtype=one.dtype,
                device=one.device,
            )
            for one in (keys, values)
        )
        self.is_initialized = True

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Do nothing: the buffers exist from the start."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_args: object, **_more: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the newest column, ``[count, heads, 1, dimensions]``, and return all live columns."""
        at = self._slots
        self.keys[: at.count, :, at.end - 1 : at.end] = key_states
        self.values[: at.count, :, at.end - 1 : at.end] = value_states
        live = slice(at.start, at.end)
        return self.keys[: at.count, :, live], self.values[: at.count, :, live]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the number of columns that attention sees, and the first one's number."""
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        """Return the number of live columns before the one that is written."""
        return self._slots.end - 1 - self._slots.start

    def get_max_length(self) -> int:
        """Return the number of columns in the buffer."""
        return self._slots.width


def bytes_per_token(config: object, dtype: torch.dtype) -> int:
    """Return the bytes of one token of one row in the cache: keys and values of all layers."""
    get = config.__getattribute__
    heads = get("num_attention_heads")
    key_heads = getattr(config, "num_key_value_heads", None) or heads
    size = getattr(config, "head_dim", None) or get("hidden_size") // heads
    return int(2 * get("num_hidden_layers") * key_heads * size * dtype.itemsize)

"""Texts to token ids, by the model folder's own tokenizer."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from millrace.schemas.errors import ModelError
from millrace.schemas.model import ModelCard
from millrace.schemas.steps import TokensOptions
from millrace.schemas.tables import TRUNCATED
from millrace.udfs.runtime.decode import texts
from millrace.udfs.runtime.examples import Examples
from millrace.udfs.tokenization.json_file import json_object
from millrace.udfs.tokenization.library_tokenizer import TOKENIZER, is_resolved, library_tokenizer
from millrace.udfs.tokenization.position_limit import positions_of

# Each task has its own cores; a tokenizer with threads of its own would take its neighbour's.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

_DEFAULT_MAX_TOKENS = 256

# Ids of each text, and which texts were longer than what was read of them.
Encode = Callable[[list[str]], tuple[list[list[int]], list[bool]]]


@dataclass(frozen=True)
class Encoder:
    """A tokenizer that cuts texts at ``longest`` tokens; ``pad_id`` is None without a pad token."""

    encode: Encode
    pad_id: int | None
    longest: int


class TokenDecoder:
    """Converts texts to token ids, cut at the model's longest; ``pad_id`` fills shorter ones."""

    def __init__(self, folder: Path, card: ModelCard) -> None:
        ((self._column, _),) = card.signature.inputs.items()
        options = cast("TokensOptions", card.preprocess.options)
        self._prompt = options.prompt
        config = json_object(folder / "config.json")
        max_tokens = options.max_tokens or _DEFAULT_MAX_TOKENS
        # Transformers would do as well, but importing it costs seconds and hundreds of megabytes.
        made = _by_file if is_resolved(folder) else _by_library
        found = made(folder, min(max_tokens, positions_of(config) or max_tokens))
        self._encode, self.longest = found.encode, found.longest
        # A network that looks for pad tokens looks for the one that its own configuration names.
        pad_ids = (config.get("pad_token_id"), found.pad_id, 0)
        self.pad_id: int = next(one for one in pad_ids if one is not None)

    def __call__(self, batch: pa.RecordBatch) -> Examples:
        """Return the token ids of each row with a text; rows that were cut have a warning."""
        cells, errors = texts(batch.column(self._column))
        there = [self._prompt + text for text in cells if text is not None]
        rows = np.array([row for row, text in enumerate(cells) if text is not None], np.int64)
        found, are_cut = self._encode(there) if there else ([], [])
        ids = [np.array(one, np.int32) for one in found]
        lengths = np.array([len(one) for one in ids], np.int64)
        errors |= {int(row): "no token in it" for row in rows[lengths == 0]}
        good = lengths > 0
        warnings = {int(row): TRUNCATED for row in rows[np.array(are_cut, bool) & good]}
        sequences = [one for one in ids if len(one)]
        return Examples(sequences, rows[good], errors, lengths[good], warnings)


def padded(
    ids: Sequence[NDArray[np.int32]], pad_id: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return token ids and mask, each ``[rows, longest]`` int64; the mask is 1 for tokens."""
    lengths = np.array([len(one) for one in ids])
    is_token = np.arange(lengths.max()) < lengths[:, None]
    tokens = np.full(is_token.shape, pad_id, np.int64)
    tokens[is_token] = np.concatenate(ids)
    return tokens, is_token.astype(np.int64)


def cut_texts(tokenizer: Any, texts: list[str], longest: int) -> tuple[list[list[int]], list[bool]]:
    """Return the ids by a tokenizer of Transformers, cut at ``longest``, and which texts were longer."""
    about = {"return_attention_mask": False, "return_token_type_ids": False, "verbose": False}
    ids: list[list[int]] = tokenizer(texts, truncation=True, max_length=longest, **about)[
        "input_ids"
    ]
    are_cut = [len(one) >= longest for one in ids]
    full = [text for text, is_full in zip(texts, are_cut, strict=True) if is_full]
    whole = iter(tokenizer(full, **about)["input_ids"] if full else [])
    return ids, [is_full and len(next(whole)) > longest for is_full in are_cut]


def _by_file(folder: Path, longest: int) -> Encoder:
    """The tokenizer that ``tokenizer.json`` describes, where no other file says more about it."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    except Exception as error:  # noqa: BLE001 - the library raises nothing more exact
        raise ModelError(f"{folder}: {TOKENIZER} cannot be read", got=str(error)[:500]) from None
    side = (tokenizer.truncation or {}).get("direction", "right")
    pad_id = (tokenizer.padding or {}).get("pad_id")
    return Encoder(_fast(tokenizer, longest, side), pad_id, longest)


def _by_library(folder: Path, longest: int) -> Encoder:
    """The tokenizer that Transformers makes of all files; it knows which of them overrules which."""
    tokenizer = library_tokenizer(folder)
    longest = min(longest, tokenizer.model_max_length)
    if not tokenizer.is_fast:
        return Encoder(
            lambda texts: cut_texts(tokenizer, texts, longest), tokenizer.pad_token_id, longest
        )
    encode = _fast(tokenizer.backend_tokenizer, longest, tokenizer.truncation_side)
    return Encoder(encode, tokenizer.pad_token_id, longest)


def _fast(tokenizer: Any, longest: int, side: str) -> Encode:
    """What the library in Rust makes of texts, without the objects that Transformers puts around it."""
    tokenizer.no_padding()
    tokenizer.enable_truncation(longest, direction=side)

    def encode(texts: list[str]) -> tuple[list[list[int]], list[bool]]:
        found = tokenizer.encode_batch_fast(texts)
        ids = [one.ids for one in found]
        # What overflows is an object a piece: it is looked at only where a text fills its room.
        are_cut = [
            len(one) >= longest and bool(encoding.overflowing)
            for one, encoding in zip(ids, found, strict=True)
        ]
        return ids, are_cut

    return encode

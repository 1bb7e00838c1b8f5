"""Texts to token ids, by the model folder's own tokenizer."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.errors import ModelError
from schemas.model import ModelCard
from udfs.decode import Examples, texts
from udfs.models.json_file import json_object

# Each task has its own cores; a tokenizer with threads of its own would take its neighbour's.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

_DEFAULT_MAX_TOKENS = 256

Encode = Callable[[list[str]], list[list[int]]]


class TokenDecoder:
    """Texts to token ids, cut at the model's longest; ``pad_id`` fills what is shorter."""

    def __init__(self, folder: Path, card: ModelCard) -> None:
        ((self._column, _),) = card.signature.inputs.items()
        asked = int(card.preprocess.options.get("max_tokens", _DEFAULT_MAX_TOKENS))
        positions = int(json_object(folder / "config.json").get("max_position_embeddings") or 0)
        longest = min(asked, positions or asked)
        # Transformers would do as well, but importing it costs seconds and hundreds of megabytes.
        made = _fast if (folder / "tokenizer.json").is_file() else _slow
        self._encode, self.pad_id = made(folder, longest)

    def __call__(self, batch: pa.RecordBatch) -> Examples:
        """Token ids, one sequence a row that has a text."""
        cells, errors = texts(batch.column(self._column))
        there = [text for text in cells if text is not None]
        rows = np.array([row for row, text in enumerate(cells) if text is not None], np.int64)
        found = self._encode(there) if there else []
        ids = [np.array(one, np.int32) for one in found]
        lengths = np.array([len(one) for one in ids], np.int64)
        errors |= {int(row): "no token in it" for row in rows[lengths == 0]}
        good = lengths > 0
        return Examples([one for one in ids if len(one)], rows[good], errors, lengths[good])


def padded(
    ids: Sequence[NDArray[np.int32]], pad_id: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Token ids and mask, each ``[rows, longest]`` int64; the mask is 1 where there is a token."""
    lengths = np.array([len(one) for one in ids])
    is_token = np.arange(lengths.max()) < lengths[:, None]
    tokens = np.full(is_token.shape, pad_id, np.int64)
    tokens[is_token] = np.concatenate(ids)
    return tokens, is_token.astype(np.int64)


def _fast(folder: Path, longest: int) -> tuple[Encode, int]:
    """The tokenizer that ``tokenizer.json`` describes, with the limits of the files beside it."""
    from tokenizers import Tokenizer

    config = json_object(folder / "tokenizer_config.json")
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # noqa: BLE001 - the library raises nothing more exact
        raise ModelError(f"{folder}: tokenizer.json cannot be read", got=str(error)[:500]) from None
    limit = min(longest, int(config.get("model_max_length") or longest))
    tokenizer.no_padding()
    tokenizer.enable_truncation(limit, direction=config.get("truncation_side", "right"))
    pad = config.get("pad_token") or json_object(folder / "special_tokens_map.json").get(
        "pad_token"
    )
    text = pad["content"] if isinstance(pad, dict) else pad
    pad_id = tokenizer.token_to_id(text) if text else None

    def encode(texts: list[str]) -> list[list[int]]:
        return [one.ids for one in tokenizer.encode_batch_fast(texts)]

    return encode, pad_id or 0


def _slow(folder: Path, longest: int) -> tuple[Encode, int]:
    """A folder without ``tokenizer.json`` has only a vocabulary: Transformers knows what to make of it."""
    os.environ.setdefault(
        "HF_HUB_OFFLINE", "1"
    )  # a model is what its folder holds, and nothing else
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"{folder}: no tokenizer in it", got=str(error)[:500]) from None
    limit = min(longest, tokenizer.model_max_length)

    def encode(texts: list[str]) -> list[list[int]]:
        found = tokenizer(
            texts,
            truncation=True,
            max_length=limit,
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        ids: list[list[int]] = found["input_ids"]
        return ids

    return encode, tokenizer.pad_token_id or 0

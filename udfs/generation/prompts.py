"""Prompts to token ids; one that the model cannot finish within its context is an error of its row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from schemas.model import ModelCard
from udfs.decode import Examples, texts


class PromptDecoder:
    """Token ids of a text column, none longer than ``longest``, with the reason where a row has none."""

    def __init__(self, tokenizer: Any, card: ModelCard, longest: int, why: str) -> None:
        ((self._column, _),) = card.signature.inputs.items()
        self._tokenizer, self._longest, self._why = tokenizer, longest, why
        self._side = card.preprocess.options.get("truncate")
        if self._side:
            self._tokenizer.truncation_side = self._side

    def __call__(self, batch: pa.RecordBatch) -> Examples:
        """Ids, one sequence a row; cut at the side that the card names, else refused when too long."""
        cells, errors = texts(batch.column(self._column))
        there = [text for text in cells if text is not None]
        rows = [row for row, text in enumerate(cells) if text is not None]
        ids = self._encoded(there) if there else []
        values, good = [], []
        for row, one in zip(rows, ids, strict=True):
            if reason := self._refusal(len(one)):
                errors[row] = reason
            else:
                good.append(row)
                values.append(np.array(one, np.int32))
        lengths = np.array([len(one) for one in values], np.int64)
        return Examples(values, np.array(good, np.int64), errors, lengths)

    def _encoded(self, texts: list[str]) -> list[list[int]]:
        cut = {"truncation": True, "max_length": self._longest} if self._side else {}
        found = self._tokenizer(
            texts, return_attention_mask=False, return_token_type_ids=False, verbose=False, **cut
        )
        ids: list[list[int]] = found["input_ids"]
        return ids

    def _refusal(self, tokens: int) -> str:
        if tokens == 0:
            return "no token in it"
        if tokens > self._longest:
            return f"prompt of {tokens} tokens; at most {self._longest}: {self._why}"
        return ""

"""Prompts to token ids; a prompt too long for the model's context is an error of its row."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pyarrow as pa

from millrace.schemas.model import ModelCard
from millrace.schemas.steps import TokensOptions
from millrace.schemas.tables import TRUNCATED
from millrace.udfs.runtime.decode import texts
from millrace.udfs.runtime.examples import Examples
from millrace.udfs.tokenization.tokenizer import cut_texts


class PromptDecoder:
    """Token ids of a text column, at most ``longest`` per row, and a reason for each row without ids."""

    def __init__(self, tokenizer: Any, card: ModelCard, longest: int, why: str) -> None:
        ((self._column, _),) = card.signature.inputs.items()
        self._tokenizer, self._longest, self._why = tokenizer, longest, why
        self._side = cast("TokensOptions", card.preprocess.options).truncate
        if self._side:
            self._tokenizer.truncation_side = self._side

    def __call__(self, batch: pa.RecordBatch) -> Examples:
        """Return the ids of each row; a too long prompt is cut at the card's side, or refused."""
        cells, errors = texts(batch.column(self._column))
        there = [text for text in cells if text is not None]
        rows = [row for row, text in enumerate(cells) if text is not None]
        ids, are_cut = self._encoded(there) if there else ([], [])
        warnings = {row: TRUNCATED for row, is_cut in zip(rows, are_cut, strict=True) if is_cut}
        values, good = [], []
        for row, one in zip(rows, ids, strict=True):
            if reason := self._refusal(len(one)):
                errors[row] = reason
            else:
                good.append(row)
                values.append(np.array(one, np.int32))
        lengths = np.array([len(one) for one in values], np.int64)
        return Examples(values, np.array(good, np.int64), errors, lengths, warnings)

    def _encoded(self, texts: list[str]) -> tuple[list[list[int]], list[bool]]:
        if self._side:
            return cut_texts(self._tokenizer, texts, self._longest)
        ids: list[list[int]] = self._tokenizer(
            texts, return_attention_mask=False, return_token_type_ids=False, verbose=False
        )["input_ids"]
        return ids, [False] * len(ids)

    def _refusal(self, tokens: int) -> str:
        if tokens == 0:
            return "no token in it"
        if tokens > self._longest:
            return f"prompt of {tokens} tokens; at most {self._longest}: {self._why}"
        return ""

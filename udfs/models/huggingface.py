"""Format ``huggingface``: a Transformers folder with a tokenizer; texts in, embeddings or classes out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from schemas.errors import ModelError
from schemas.model import ModelCard
from udfs.decode import Examples, Values
from udfs.models.device import resolve
from udfs.models.heads import HEADS

# Each task has one core; a tokenizer with threads of its own would take its neighbour's.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a model is what its folder holds, and nothing else


class HuggingFaceModel:
    """A Transformers encoder with its tokenizer, on one device."""

    def __init__(self, folder: Path, card: ModelCard, device: str) -> None:
        from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()

        self.card = card
        self._device = resolve(device)
        self.device = str(self._device)
        ((self._column, _),) = card.signature.inputs.items()
        self._pooling = str(card.postprocess.options.get("pooling", "mean"))
        self._head = HEADS[card.postprocess.name](card.postprocess.options)
        kind = (
            AutoModelForSequenceClassification if card.postprocess.name == "classify" else AutoModel
        )
        place: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(str(folder), **place)
            self._network, loading = kind.from_pretrained(
                str(folder),
                **place,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelError(f"{folder} cannot be loaded", got=str(error)[:500]) from None
        _check_whole(loading["missing_keys"], card, folder)
        self._network.eval().to(self._device)
        asked = int(card.preprocess.options.get("max_tokens", 256))
        positions = getattr(self._network.config, "max_position_embeddings", 0)
        self._max_tokens = min(asked, self._tokenizer.model_max_length, max(positions, 0) or asked)

    def decode(self, batch: pa.RecordBatch) -> Examples:
        """Token ids, one sequence a row that is not null, cut at the model's longest."""
        texts = batch.column(self._column).to_pylist()
        rows = np.array([row for row, text in enumerate(texts) if text is not None], np.int64)
        errors = {row: "null" for row, text in enumerate(texts) if text is None}
        ids: list[list[int]] = []
        if len(rows):
            ids = self._tokenizer(
                [texts[row] for row in rows],
                truncation=True,
                max_length=self._max_tokens,
                return_attention_mask=False,
                return_token_type_ids=False,
            )["input_ids"]
        lengths = np.array([len(i) for i in ids], np.int64)
        errors |= {int(row): "no token in it" for row in rows[lengths == 0]}
        return Examples([i for i in ids if i], rows[lengths > 0], errors, lengths[lengths > 0])

    @torch.inference_mode()
    def predict(self, values: Values) -> Mapping[str, NDArray[Any]]:
        """The head's outputs for token ids, padded to the longest of them."""
        width = max(len(ids) for ids in values)
        tokens = torch.full((len(values), width), self._tokenizer.pad_token_id or 0)
        mask = torch.zeros((len(values), width), dtype=torch.long)
        for row, ids in enumerate(values):
            tokens[row, : len(ids)] = torch.as_tensor(ids)
            mask[row, : len(ids)] = 1
        tokens, mask = tokens.to(self._device), mask.to(self._device)
        output = self._network(input_ids=tokens, attention_mask=mask)
        return self._head(output.logits if "logits" in output else self._pooled(output[0], mask))

    def _pooled(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """``[rows, tokens, dimensions]`` to ``[rows, dimensions]``: the mean of real tokens, or the first."""
        if self._pooling == "first":
            return states[:, 0]
        weights = mask.unsqueeze(-1).to(states.dtype)
        return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-9)


def _check_whole(missing: Iterable[str], card: ModelCard, folder: Path) -> None:
    """Raise ModelError for tensors that the folder lacks: Transformers would make them up at random."""
    is_read = card.postprocess.name == "classify"  # an embedding does not read BERT's pooler
    if lost := sorted(name for name in missing if is_read or not name.startswith("pooler.")):
        raise ModelError(
            f"the weights in {folder} do not fit {card.postprocess.name}",
            got=f"missing: {', '.join(lost)}"[:500],
            next="export the whole model, its head included",
        )

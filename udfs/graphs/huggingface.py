"""Format ``huggingface``: the graph of a Transformers encoder, from token ids to the last tensor."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from millrace.schemas.errors import ModelError
from millrace.schemas.model import ModelCard
from millrace.udfs.graphs.heads import HEADS
from millrace.udfs.graphs.pooling import pooling_of

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a model is what its folder holds, and nothing else

_SCORES = ("classify", "values")  # steps that read the head's scores; `embed` reads token vectors


class TextGraph(nn.Module):
    """Encoder, pooling and head: ids and mask, ``[rows, tokens]`` int64, to ``[rows, ...]`` float32.

    ``network`` may be in another precision; pooling and head are in float32.
    """

    def __init__(self, network: nn.Module, card: ModelCard) -> None:
        super().__init__()
        self.network = network
        self._has_logits = card.postprocess.name in _SCORES
        self._head = HEADS[card.postprocess.name](card.postprocess.options)
        self._pooling = pooling_of(card)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the head's tensor."""
        output = self.network(input_ids=input_ids, attention_mask=attention_mask, return_dict=False)
        states = output[0].float()
        return self._head(states if self._has_logits else self._pooled(states, attention_mask))

    def _pooled(self, states: Tensor, mask: Tensor) -> Tensor:
        """``[rows, tokens, dimensions]`` to ``[rows, dimensions]``: the mean of real tokens, or the first."""
        if self._pooling == "first":
            return states[:, 0]
        weights = mask.unsqueeze(-1).to(states.dtype)
        return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-9)


def text_graph(folder: Path, card: ModelCard) -> TextGraph:
    """Load the folder's encoder in float32, on the CPU. Raises ModelError if weights are missing.

    Transformers uses torch's fused attention (SDPA) if the architecture supports it.
    """
    from transformers import AutoModel, AutoModelForSequenceClassification
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    kind = AutoModelForSequenceClassification if card.postprocess.name in _SCORES else AutoModel
    try:
        network, loading = kind.from_pretrained(
            str(folder),
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"{folder} cannot be loaded", got=str(error)[:500]) from None
    _check_whole(loading["missing_keys"], card, folder)
    return TextGraph(network, card)


def _check_whole(missing: Iterable[str], card: ModelCard, folder: Path) -> None:
    """Raise ModelError for tensors that the folder lacks: Transformers would make them up at random."""
    is_read = card.postprocess.name in _SCORES  # an embedding does not read BERT's pooler
    if lost := sorted(name for name in missing if is_read or not name.startswith("pooler.")):
        raise ModelError(
            f"the weights in {folder} do not fit {card.postprocess.name}",
            got=f"missing: {', '.join(lost)}"[:500],
            next="export the whole model, its head included",
        )

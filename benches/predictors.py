"""The models as anybody would call them from torch, for the two contestants that are not Millrace.

The network classes and weights are the very ones that Millrace loads; decoding, batching and
calling are not its code.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BATCH_ROWS = 64

Outputs = dict[str, NDArray[Any]]
Predict = Callable[[Sequence[Any]], Outputs]  # cells of the model's column, at most a batch

_SHAPE = (1, 28, 28)
_SIZES: dict[str, Any] = {"channels": [32, 64], "dense": 64, "classes": 10}
_SCALE = 1 / 255
_MAX_TOKENS = 256


def load_digits(folder: Path) -> Predict:
    """Bytes of images to ``label``, ``score`` and ``probabilities``."""
    import torch
    from safetensors.torch import load_file

    from udfs.models.networks import build

    network = build("cnn", _SHAPE, _SIZES)
    network.load_state_dict(load_file(folder / "model.safetensors"))
    network.eval()

    @torch.inference_mode()
    def predict(cells: Sequence[bytes]) -> Outputs:
        pixels = np.frombuffer(bytearray().join(cells), np.uint8).reshape(-1, *_SHAPE)
        probabilities = torch.softmax(network(torch.from_numpy(pixels).float() * _SCALE), dim=1)
        score, label = probabilities.max(dim=1)
        return {
            "label": label.to(torch.int32).numpy(),
            "score": score.numpy(),
            "probabilities": probabilities.numpy(),
        }

    return predict


def load_docs(folder: Path) -> Predict:
    """Texts to ``embedding``: mean of the real tokens, of length one."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    network = AutoModel.from_pretrained(
        str(folder), local_files_only=True, use_safetensors=True, dtype=torch.float32
    ).eval()

    @torch.inference_mode()
    def predict(cells: Sequence[str]) -> Outputs:
        tokens = tokenizer(
            list(cells), padding=True, truncation=True, max_length=_MAX_TOKENS, return_tensors="pt"
        )
        states = network(**tokens).last_hidden_state  # [rows, tokens, 384]
        weights = tokens["attention_mask"].unsqueeze(-1).float()
        pooled = (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-9)
        return {"embedding": torch.nn.functional.normalize(pooled, dim=1).numpy()}

    return predict


LOADERS: dict[str, Callable[[Path], Predict]] = {"digits": load_digits, "docs": load_docs}

"""The models as anybody would call them from torch in fp32, for the contestants that are not Millrace.

The network classes and weights are the very ones that Millrace loads; decoding, batching and
calling are not its code. ``LOADERS[workload](folder)`` gives a function of one sequence a column,
at most a batch of rows.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Outputs = dict[str, NDArray[Any]]
Predict = Callable[..., Outputs]  # a sequence of cells for each of the model's columns

SHAPE = (1, 28, 28)
_SIZES: dict[str, Any] = {"channels": [32, 64], "dense": 64, "classes": 10}
SCALE = 1 / 255
MAX_TOKENS = 256


def load_digits(folder: Path) -> Predict:
    """Bytes of images to ``label``, ``score`` and ``probabilities``."""
    import torch

    network = digits_network(folder)

    @torch.inference_mode()
    def predict(cells: Sequence[bytes]) -> Outputs:
        pixels = np.frombuffer(bytearray().join(cells), np.uint8).reshape(-1, *SHAPE)
        return classes(network(torch.from_numpy(pixels).float() * SCALE))

    return predict


def digits_network(folder: Path) -> Any:
    """The CNN's layers with its weights in fp32 and torch's default memory order.

    Millrace's own class orders memory by channels, which is twice as fast on CPUs: that is one of the
    things that a plain loop lacks, and that a hand-tuned one adds itself.
    """
    import torch
    from safetensors.torch import load_file

    from millrace.udfs.graphs.networks import build

    network = build("cnn", SHAPE, _SIZES)
    network.load_state_dict(load_file(folder / "model.safetensors"))
    layers = torch.nn.Sequential(*network.features, *network.classifier)  # type: ignore[misc]
    return layers.to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]


def classes(logits: Any) -> Outputs:
    """Logits ``[rows, 10]`` to what a digit's prediction holds."""
    probabilities = logits.float().softmax(dim=1)
    score, label = probabilities.max(dim=1)
    return {
        "label": label.int().numpy(),
        "score": score.numpy(),
        "probabilities": probabilities.numpy(),
    }


def load_docs(folder: Path) -> Predict:
    """Texts to ``embedding``: mean of the real tokens, of length one."""
    import torch

    tokenizer, network = docs_network(folder)

    @torch.inference_mode()
    def predict(cells: Sequence[str]) -> Outputs:
        tokens = tokenizer(
            list(cells), padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
        )
        states = network(**tokens).last_hidden_state  # [rows, tokens, 384]
        return {"embedding": pooled(states, tokens["attention_mask"]).numpy()}

    return predict


def docs_network(folder: Path) -> tuple[Any, Any]:
    """MiniLM's tokenizer and network, fp32."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    network = AutoModel.from_pretrained(
        str(folder), local_files_only=True, use_safetensors=True, dtype=torch.float32
    )
    return tokenizer, network.eval()


def pooled(states: Any, mask: Any) -> Any:
    """``[rows, tokens, 384]`` to ``[rows, 384]`` in fp32: the mean of real tokens, of length one."""
    import torch

    weights = mask.unsqueeze(-1).float()
    mean = (states.float() * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-9)
    return torch.nn.functional.normalize(mean, dim=1)


def load_payments(folder: Path) -> Predict:
    """Six columns of numbers to ``value``."""
    import torch
    from safetensors.torch import load_file

    from millrace.udfs.graphs.networks import build

    weights = load_file(folder / "model.safetensors")
    hidden = [weights[f"layers.{at}.weight"].shape[0] for at in (1, 3)]
    columns = weights["layers.1.weight"].shape[1]
    network = build("mlp", (columns,), {"hidden": hidden, "outputs": 1})
    network.load_state_dict(weights)
    network.eval()

    @torch.inference_mode()
    def predict(*cells: Sequence[float]) -> Outputs:
        x = np.stack([np.asarray(column, np.float32) for column in cells], axis=1)
        return {"value": network(torch.from_numpy(x))[:, 0].numpy()}

    return predict


LOADERS: dict[str, Callable[[Path], Predict]] = {
    "docs": load_docs,
    "digits": load_digits,
    "payments": load_payments,
}

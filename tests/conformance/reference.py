"""What a model folder gives by plain torch in fp32, one row at a time, with none of Millrace's code but a network."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file

from millrace.schemas.model import ModelCard
from millrace.udfs.graphs.networks import NETWORKS


def reference(folder: Path, card: ModelCard, cells: list[Any]) -> NDArray[np.float32]:
    """``[rows, width]``: probabilities, embeddings or values, as the card's postprocess says."""
    one = _text if card.preprocess.name == "tokens" else _array
    with torch.inference_mode():
        return np.stack([_ended(one(folder, card, cell), card).numpy() for cell in cells])


def _text(folder: Path, card: ModelCard, text: str) -> torch.Tensor:
    from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

    classifies = card.postprocess.name == "classify"
    kind = AutoModelForSequenceClassification if classifies else AutoModel
    network = kind.from_pretrained(folder).eval()
    limit = card.preprocess.options.max_tokens
    given = AutoTokenizer.from_pretrained(folder)(
        text, truncation=True, max_length=limit, return_tensors="pt"
    )
    output = network(given["input_ids"], given["attention_mask"])
    return output.logits[0] if classifies else output[0][0].mean(dim=0)


def _array(folder: Path, card: ModelCard, cell: Any) -> torch.Tensor:
    assert card.architecture is not None
    ((_, column),) = card.signature.inputs.items()
    network = NETWORKS[card.architecture.name](
        shape=column.shape, **dict(card.architecture.options)
    )
    network.load_state_dict(load_file(folder / "weights.safetensors"))
    if card.preprocess.name == "image":
        picture = np.asarray(Image.open(io.BytesIO(cell)).convert("RGB")).transpose(2, 0, 1)
        x = torch.tensor(picture.astype(np.float32)) / 255
    elif card.preprocess.name == "pixels":
        x = torch.tensor(list(cell), dtype=torch.float32).reshape(column.shape) / 255
    else:
        x = torch.tensor(cell, dtype=torch.float32).reshape(column.shape)
    return network.eval()(x[None])[0]


def _ended(raw: torch.Tensor, card: ModelCard) -> torch.Tensor:
    if card.postprocess.name == "classify":
        return torch.softmax(raw, 0)
    return torch.nn.functional.normalize(raw, dim=0) if card.postprocess.name == "embed" else raw

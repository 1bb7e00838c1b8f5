"""A text encoder of 335 million random weights, as large as BERT-large; nothing is downloaded.

Speed does not depend on what weights say, so random ones measure as well as trained ones.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LAYERS, HIDDEN, HEADS, INTERMEDIATE = 24, 1024, 16, 4096
TOKENS = 256  # of each row: all as long as the longest that are read
_SEED = 7


def encoder_folder(folder: Path) -> Path:
    """A model folder with the encoder and the tokenizer of the demonstration's model; made if need be."""
    import torch
    from transformers import BertConfig, BertModel

    from millrace.examples.docs import packaged_model
    from millrace.udfs.models.model_folder import write_card
    from millrace.udfs.models.model_loading import CARD

    if (folder / CARD).is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        shutil.copyfile(packaged_model() / name, folder / name)
    torch.manual_seed(_SEED)
    config = BertConfig(
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=INTERMEDIATE,
    )
    BertModel(config).save_pretrained(folder)
    write_card(
        folder,
        name="encoder-300m",
        version="1",
        format="huggingface",
        signature={
            "inputs": {"text": {"type": "string"}},
            "outputs": {"embedding": {"type": "array<float>", "shape": (HIDDEN,)}},
        },
        preprocess={"name": "tokens", "options": {"max_tokens": TOKENS}},
        postprocess={"name": "embed", "options": {"pooling": "mean", "normalize": True}},
        licence="Apache-2.0",
    )
    return folder


def network(folder: Path, precision: str, device: str) -> Any:
    """The encoder by Transformers alone, with fused attention, on the device."""
    import torch
    from transformers import BertModel

    kinds = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    found = BertModel.from_pretrained(
        folder, dtype=kinds[precision], attn_implementation="sdpa", add_pooling_layer=False
    )
    return found.eval().to(device)


def token_ids(rows: int) -> NDArray[np.int64]:
    """Seeded token ids, ``[rows, TOKENS]``; none is padding."""
    return np.random.default_rng(_SEED).integers(1000, 30000, (rows, TOKENS), dtype=np.int64)


def texts(rows: int) -> list[str]:
    """Seeded texts of at least TOKENS tokens each."""
    words = ["stream", "river", "wheel", "stone", "grain", "flour", "miller", "water"]
    drawn = np.random.default_rng(_SEED)
    return [" ".join(drawn.choice(words, TOKENS)) for _ in range(rows)]


def flops(rows: int, tokens: int = TOKENS) -> float:
    """What one forward pass multiplies and adds: matrices of 4 h^2 + 2 h i a token, and attention.

    A multiplication and its addition count as two; softmax, norms and embeddings are not counted.
    """
    matrices = 2 * (4 * HIDDEN * HIDDEN + 2 * HIDDEN * INTERMEDIATE)
    attention = 2 * 2 * tokens * HIDDEN
    return float(rows * tokens * LAYERS * (matrices + attention))

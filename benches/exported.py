"""The graphs that the hand-tuned OpenVINO loops read: exported once, before anything is measured."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benches.predictors import SCALE, SHAPE, digits_network, docs_network, pooled


def graph_of(model: Path) -> Path:
    """Where a model folder's exported graph is: beside it, since the folder holds what its card lists."""
    return model.parent / f"{model.name}-openvino" / "graph.xml"


def export(name: str, model: Path) -> None:
    """Write the graph of a workload's model, unless it is there or the workload has none."""
    path = graph_of(model)
    if path.is_file() or name not in GRAPHS:
        return
    import openvino as ov

    network, example = GRAPHS[name](model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # OpenVINO traces with torch.jit, which torch deprecates
        converted = ov.convert_model(network, example_input=example)
    path.parent.mkdir(parents=True, exist_ok=True)
    ov.save_model(converted, path, compress_to_fp16=False)


def _docs(model: Path) -> tuple[Any, Any]:
    """Token ids and mask, ``[rows, tokens]``, to embeddings ``[rows, 384]``."""
    import torch

    _, network = docs_network(model)

    class Embedder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            states = self.network(input_ids=tokens, attention_mask=mask).last_hidden_state
            return pooled(states, mask)  # type: ignore[no-any-return]

    example = torch.ones((2, 8), dtype=torch.long)
    return Embedder().eval(), {"tokens": example, "mask": example}


def _digits(model: Path) -> tuple[Any, Any]:
    """Pixels, uint8 ``[rows, 1, 28, 28]``, to probabilities ``[rows, 10]``."""
    import torch

    network = digits_network(model)

    class Classifier(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.network(pixels.float() * SCALE).softmax(dim=1)  # type: ignore[no-any-return]

    return Classifier().eval(), torch.zeros((2, *SHAPE), dtype=torch.uint8)


GRAPHS: dict[str, Callable[[Path], tuple[Any, Any]]] = {"docs": _docs, "digits": _digits}

"""Builds a model folder's graph as one torch module, in a given precision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from millrace.schemas.errors import ModelError
from millrace.schemas.model import ModelCard


def graph_of(folder: Path, card: ModelCard) -> nn.Module:
    """Return the folder's graph: float32, on the CPU, in evaluation mode. Raises ModelError."""
    if card.format not in GRAPHS:
        raise ModelError(
            f"{folder} holds no network that torch builds",
            got=f"format {card.format}",
            allowed=", ".join(GRAPHS),
            next="start from the model that it was made from",
        )
    return GRAPHS[card.format](folder, card).eval()


def _safetensors(folder: Path, card: ModelCard) -> nn.Module:
    from millrace.udfs.graphs.network import network_graph

    return network_graph(folder, card)


def _huggingface(folder: Path, card: ModelCard) -> nn.Module:
    from millrace.udfs.graphs.huggingface import text_graph

    return text_graph(folder, card)


def _torchscript(folder: Path, card: ModelCard) -> nn.Module:
    from millrace.udfs.graphs.torchscript import script_graph

    return script_graph(folder, card)


GRAPHS: dict[str, Callable[[Path, ModelCard], nn.Module]] = {
    "safetensors": _safetensors,
    "huggingface": _huggingface,
    "torchscript": _torchscript,
}


def in_precision(graph: nn.Module, precision: str) -> nn.Module:
    """Convert the graph's network to a precision; scaling, pooling and head stay in float32."""
    if precision == "fp32":
        return graph
    network = graph.get_submodule("network")
    if precision == "int8":
        from millrace.udfs.graphs.int8 import quantize_linears

        quantize_linears(network)
    else:
        network.to(DTYPES[precision])
    return graph


DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}

"""Where an ONNX graph stores its weights: in itself, or in files that the card lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from millrace.schemas.errors import ModelError
from millrace.schemas.model import ModelCard
from millrace.udfs.backends.onnx_graph import graph_of


def check_external_data(folder: Path, graph: str, card: ModelCard) -> None:
    """Raise ModelError if the graph reads weights from a file that the card does not list."""
    from onnx.external_data_helper import uses_external_data

    directory = Path(graph).parent
    for tensor in tensors(graph_of(folder / graph).graph):
        if not uses_external_data(tensor):
            continue
        place = {entry.key: entry.value for entry in tensor.external_data}.get("location", "")
        if str(directory / place) not in card.files:
            raise ModelError(
                f"{folder / graph} reads weights from a file that its card does not list",
                got=place,
                allowed=", ".join(card.files),
                next="list the file in model.yaml, in the model's folder",
            )


def tensors(graph: Any) -> list[Any]:
    """Return every stored tensor of a graph: initializers, and those inside of nodes and their branches."""
    found = list(graph.initializer)
    for sparse in graph.sparse_initializer:
        found += [sparse.values, sparse.indices]
    for node in graph.node:
        for attribute in node.attribute:
            found += [*attribute.tensors, attribute.t]
            for branch in (*attribute.graphs, attribute.g):
                found += tensors(branch)
    return found

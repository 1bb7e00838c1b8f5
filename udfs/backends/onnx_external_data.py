"""Where an ONNX graph keeps its weights: in the model's folder, in files that its card lists, or nowhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from schemas.errors import ModelError
from schemas.model import ModelCard


def check_external_data(folder: Path, graph: str, card: ModelCard) -> None:
    """Raise ModelError where weights are to be read from a file that the card does not vouch for."""
    import onnx
    from onnx.external_data_helper import uses_external_data

    try:
        model = onnx.load(folder / graph, load_external_data=False)
    except Exception as error:  # noqa: BLE001 - protobuf's errors have no common base
        raise ModelError(f"{folder / graph} is not an ONNX graph", got=str(error)[:500]) from None
    beside = Path(graph).parent
    for tensor in _tensors(model.graph):
        if not uses_external_data(tensor):
            continue
        place = {entry.key: entry.value for entry in tensor.external_data}.get("location", "")
        if str(beside / place) not in card.files:
            raise ModelError(
                f"{folder / graph} reads weights from a file that its card does not list",
                got=place,
                allowed=", ".join(card.files),
                next="list the file in model.yaml, in the model's folder",
            )


def _tensors(graph: Any) -> list[Any]:
    """Every stored tensor of a graph: its initializers, and those inside nodes and their branches."""
    found = list(graph.initializer)
    for sparse in graph.sparse_initializer:
        found += [sparse.values, sparse.indices]
    for node in graph.node:
        for attribute in node.attribute:
            found += [*attribute.tensors, attribute.t]
            for branch in (*attribute.graphs, attribute.g):
                found += _tensors(branch)
    return found

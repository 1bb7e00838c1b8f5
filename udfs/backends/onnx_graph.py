"""Inspects an ONNX file: inputs, outputs and operators. Nothing is computed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from millrace.schemas.errors import ModelError
from millrace.schemas.model import ModelCard

_AGAIN = (
    "fetch or export the file again: a text in its place is often the pointer that Git LFS leaves, or the "
    "page of a download that failed"
)
_SHAPING = ("Reshape", "Squeeze", "Unsqueeze", "Identity", "Cast", "Flatten")


def graph_of(path: Path) -> Any:
    """Return the ModelProto of a file, without weights in other files. Raises ModelError."""
    import onnx

    try:
        return onnx.load(str(path), load_external_data=False)
    except Exception as error:  # noqa: BLE001 - protobuf's errors have no common base
        raise ModelError(
            f"{path} is not an ONNX graph", got=f"{error}"[:300], next=_AGAIN
        ) from None


def producer_of(proto: Any, tensor: str) -> Any | None:
    """Return the node that produces a tensor; None for an input or a constant."""
    return next((node for node in proto.graph.node if tensor in node.output), None)


@dataclass(frozen=True)
class Operators:
    """The operators of a graph; ``last`` produces the tensor that the card reads, "" if none does."""

    last: str
    every: frozenset[str]


def operators_of(folder: Path, card: ModelCard) -> Operators:
    """Return the operators of the card's graph; ``last`` skips those that only change a shape."""
    (name,) = [name for name in card.files if name.endswith(".onnx")]
    proto = graph_of(folder / name)
    node = producer_of(proto, card.tensor or proto.graph.output[0].name)
    while node is not None and node.op_type in _SHAPING:
        node = producer_of(proto, node.input[0])
    every = frozenset(str(one.op_type) for one in proto.graph.node)
    return Operators("" if node is None else str(node.op_type), every)

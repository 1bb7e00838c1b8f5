"""Rewrites an ONNX graph: one numeric input of all columns, and tensors in place of maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from millrace.schemas.errors import ModelError

INPUT = "millrace_columns"
# By ONNX element type: the type of the step `columns` that holds every value of it.
_TYPES = {1: "float", 11: "double", 7: "bigint", 6: "bigint", 5: "bigint", 3: "bigint", 9: "bigint"}
_STRING = 8


@dataclass(frozen=True)
class Ending:
    """The tensor of scores or values, and the classes' names if the graph has them."""

    tensor: str
    labels: tuple[str | int, ...] | None
    is_classifier: bool


def joined_inputs(proto: Any, columns: Sequence[str]) -> str:
    """Give the graph one input ``[rows, columns]``, and return the name of its type.

    Several inputs are cut from one of doubles, which represents every float, and integers up to 2^53. Inputs
    of one column each are matched by name, in the order of ``columns``. Raises ModelError.
    """
    inputs = _inputs(proto)
    for one in inputs:
        if one.type.tensor_type.elem_type not in _TYPES:
            is_text = one.type.tensor_type.elem_type == _STRING
            raise ModelError(
                f"the graph's input {one.name!r} is not numeric",
                got="strings" if is_text else f"element type {one.type.tensor_type.elem_type}",
                allowed="float, double, int64, int32, boolean",
                next="encode the categories as numbers before the model, and export without them",
            )
    kinds = {one.type.tensor_type.elem_type for one in inputs}
    if len(inputs) == 1 and kinds <= {1, 7, 11}:
        return _TYPES[kinds.pop()]
    _split(proto, inputs, columns)
    return "double"


def ending_of(proto: Any) -> Ending:
    """Remove every ZipMap from the graph and return its ending. Raises ModelError."""
    zipped = [node for node in proto.graph.node if node.op_type == "ZipMap"]
    if zipped:
        labels = _labels(zipped[0], ("classlabels_int64s", "classlabels_strings"))
        (scores,) = zipped[0].input
        proto.graph.node.remove(zipped[0])
        _replace_output(proto, zipped[0].output[0], scores)
        return Ending(scores, labels, True)
    names = [one.name for one in proto.graph.output]
    if any(one.type.WhichOneof("value") != "tensor_type" for one in proto.graph.output):
        raise ModelError(
            "an output of the graph is neither a tensor nor a ZipMap", got=", ".join(names)
        )
    scores = names[1] if len(names) == 2 and _is_float(proto.graph.output[1]) else names[0]  # noqa: PLR2004
    maker = next((node for node in proto.graph.node if scores in node.output), None)
    is_classifier = maker is not None and maker.op_type.endswith("Classifier")
    labels = None
    if is_classifier:
        labels = _labels(maker, ("classlabels_int64s", "classlabels_ints", "classlabels_strings"))
    return Ending(scores, labels, is_classifier or len(names) > 1)


def _inputs(proto: Any) -> list[Any]:
    stored = {one.name for one in proto.graph.initializer}
    return [one for one in proto.graph.input if one.name not in stored]


def _is_float(output: Any) -> bool:
    return output.type.tensor_type.elem_type in (1, 11)


def _width(one: Any) -> int:
    dims = one.type.tensor_type.shape.dim
    return int(dims[1].dim_value) or 1 if len(dims) > 1 else 1


def _split(proto: Any, inputs: Sequence[Any], columns: Sequence[str]) -> None:
    from onnx import TensorProto, helper, numpy_helper

    widths = [_width(one) for one in inputs]
    if sum(widths) != len(columns):
        raise ModelError(
            "the graph reads another number of columns than the sample has",
            got=f"{len(columns)} columns: {', '.join(columns)}",
            allowed=", ".join(
                f"{one.name} ({width})" for one, width in zip(inputs, widths, strict=True)
            ),
            next="name the predictions' columns with --expect, so that they are not read as inputs",
        )
    by_name = all(width == 1 for width in widths) and {one.name for one in inputs} == set(columns)
    starts = [sum(widths[:at]) for at in range(len(widths))]
    nodes = []
    for one, width, start in zip(inputs, widths, starts, strict=True):
        places = [columns.index(one.name)] if by_name else list(range(start, start + width))
        import numpy as np

        index = numpy_helper.from_array(np.array(places, np.int64), f"{one.name}_places")
        proto.graph.initializer.append(index)
        nodes.append(helper.make_node("Gather", [INPUT, index.name], [f"{one.name}_part"], axis=1))
        kind = one.type.tensor_type.elem_type
        nodes.append(helper.make_node("Cast", [f"{one.name}_part"], [one.name], to=kind))
        proto.graph.input.remove(one)
    whole = helper.make_tensor_value_info(INPUT, TensorProto.DOUBLE, [None, len(columns)])
    proto.graph.input.append(whole)
    for at, node in enumerate(nodes):
        proto.graph.node.insert(at, node)


def _labels(node: Any, names: Sequence[str]) -> tuple[str | int, ...] | None:
    for attribute in node.attribute:
        if attribute.name in names and (attribute.ints or attribute.strings):
            return tuple(attribute.ints) or tuple(one.decode() for one in attribute.strings)
    return None


def _replace_output(proto: Any, old: str, new: str) -> None:
    from onnx import TensorProto, helper

    (place,) = [at for at, one in enumerate(proto.graph.output) if one.name == old]
    del proto.graph.output[place]
    proto.graph.output.append(helper.make_tensor_value_info(new, TensorProto.FLOAT, None))

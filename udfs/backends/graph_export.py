"""Exports a torch graph to other formats, for any number of rows and any length of texts."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from millrace.udfs.backends.runner import Arrays

# Names of warnings inside torch and Transformers about their own parts; any other warning is not silenced.
_KNOWN_WARNINGS = (
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
    r"The tensor attributes self\.network\.lstm\._flat_weights",  # the same tensors by a second name
)
_KNOWN_TRACER_WARNINGS = (
    r"`torch\.jit\.\w+` is deprecated",
    r"`is_gradient_checkpointing` is deprecated",  # the tracer reads every attribute
    # Branches on shapes are traced as the example follows them; `convert` compares at other shapes.
    r"Converting a tensor to a Python (boolean|integer) might cause the trace to be incorrect",
)


def openvino(graph: nn.Module, example: Arrays, folder: Path) -> None:
    """Write ``model.xml`` and ``model.bin`` in float32."""
    import openvino as ov

    with _without(_KNOWN_WARNINGS):
        model = ov.convert_model(_exported(graph, example))
    ov.save_model(model, folder / "model.xml", compress_to_fp16=False)


def onnx(graph: nn.Module, example: Arrays, folder: Path) -> None:
    """Write ``model.onnx``, and its weights to ``model.onnx.data``, which a reader can map into memory."""
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    registration.setLevel(logging.ERROR)  # it warns of torchvision, which no graph here needs
    with _without(_KNOWN_WARNINGS):
        program = torch.onnx.export(_exported(graph, example), dynamo=True, verbose=False)
    if program is None:
        raise AssertionError("torch.onnx.export with dynamo=True returns a program")
    program.save(folder / "model.onnx", external_data=True)


def torchscript(graph: nn.Module, example: Arrays, folder: Path) -> None:
    """Write ``model.ts``, for readers of the deprecated format."""
    tensors = tuple(map(torch.from_numpy, example))
    with _without(_KNOWN_TRACER_WARNINGS), torch.no_grad():
        traced = torch.jit.trace(graph, tensors)  # type: ignore[no-untyped-call]
        torch.jit.save(traced, str(folder / "model.ts"))


EXPORTS: dict[str, Callable[[nn.Module, Arrays, Path], None]] = {
    "openvino": openvino,
    "onnx": onnx,
    "torchscript": torchscript,
}


def quantize_onnx(folder: Path) -> None:
    """Quantize the weights of the folder's ``model.onnx`` to int8; activations are scaled at run time."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    wide, narrow = folder / "model.onnx", folder / "int8.onnx"
    quantize_dynamic(
        wide, narrow, weight_type=QuantType.QInt8, per_channel=True, use_external_data_format=False
    )
    (folder / "model.onnx.data").unlink(missing_ok=True)
    narrow.replace(wide)


def _exported(graph: nn.Module, example: Arrays) -> torch.export.ExportedProgram:
    """The graph with names and shapes: rows vary, and of ids and mask the length too."""
    variable = torch.export.Dim.DYNAMIC
    axes = {0: variable} if len(example) == 1 else {0: variable, 1: variable}
    tensors = tuple(map(torch.from_numpy, example))
    return torch.export.export(graph, tensors, dynamic_shapes=(axes,) * len(example))


@contextmanager
def _without(messages: tuple[str, ...]) -> Iterator[None]:
    with warnings.catch_warnings():
        for message in messages:
            warnings.filterwarnings("ignore", message=message)
        yield

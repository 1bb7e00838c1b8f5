"""The backends and precisions that this process can run a model folder with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from millrace.schemas.errors import RunFailed
from millrace.schemas.model import ModelCard
from millrace.udfs.backends import hardware
from millrace.udfs.runtime.plan import Runtime

BACKENDS: dict[str, tuple[str, ...]] = {
    "safetensors": ("torch", "torch_compile"),
    "huggingface": ("torch", "torch_compile"),
    "torchscript": ("torch",),
    "onnx": ("onnxruntime", "openvino"),
    "openvino": ("openvino",),
}
WRITERS = ("torch", "vllm")  # of a card whose step is `generate`


def runtimes(card: ModelCard, device: str = "auto", threads: int = 1) -> list[Runtime]:
    """List the runtimes that this process has for a folder; fp32 by the format's own backend comes first.

    It inspects hardware and installed packages, and loads no model. Empty if the format's packages are
    missing. Raises RunFailed for a device that is missing.
    """
    return [
        Runtime(place, backend, precision, threads)
        for backend in _backends(card)
        if (place := _device(backend, device)) is not None
        for precision in _PRECISIONS[backend](card, place)
    ]


def _backends(card: ModelCard) -> tuple[str, ...]:
    return WRITERS if card.postprocess.name == "generate" else BACKENDS[card.format]


def resolved(card: ModelCard, requested: Runtime) -> Runtime:
    """Return ``requested`` with its device resolved. Raises RunFailed, listing the alternatives."""
    there = runtimes(card, requested.device, requested.threads)
    for runtime in there:
        if replace(requested, device=runtime.device, streams=runtime.streams) == runtime:
            return replace(runtime, streams=requested.streams)
    raise RunFailed(
        f"model {card.title} cannot be run with {requested.backend} in {requested.precision} here",
        got=f"format {card.format}, device {requested.device}",
        allowed=", ".join(f"{r.backend} {r.precision} on {r.device}" for r in there) or "nothing",
        next="set engine.backend and engine.precision, install the backend's package, "
        "or convert the model: millrace model convert",
    )


def _device(backend: str, requested: str) -> str | None:
    """Return the device that a backend uses for ``requested``; None if it cannot compute there."""
    if backend == "openvino":
        return None if requested.startswith("cuda") else "cpu"
    if backend == "onnxruntime":
        has_cuda = _onnxruntime_has_cuda()
        if requested.startswith("cuda"):
            return requested if has_cuda else None
        return "cuda" if has_cuda and requested == "auto" else "cpu"
    if not hardware.has_package("torch"):
        return None
    has_cuda = requested != "cpu" and hardware.has_cuda()
    if requested.startswith("cuda") and not has_cuda:
        raise RunFailed(
            "the job asks for CUDA and this worker has none",
            got="torch.cuda.is_available() is False",
            allowed="device: cuda on workers with a GPU, else device: cpu or auto",
            next="set engine.device",
        )
    return requested if requested.startswith("cuda") else "cuda" if has_cuda else "cpu"


def _onnxruntime_has_cuda() -> bool:
    if not hardware.has_package("onnxruntime"):
        return False
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def stored_precision(card: ModelCard) -> str:
    """Return int8 for a folder with quantised weights, else fp32."""
    return card.made_from.precision if card.made_from else "fp32"


def _torch(card: ModelCard, device: str) -> tuple[str, ...]:
    if card.format == "torchscript":  # its graph was fixed when it was traced
        return ("fp32",)
    if card.postprocess.name == "generate":
        return tuple(name for name in _hardware(device) if name != "int8")
    return _hardware(device)


def _torch_compile(_card: ModelCard, device: str) -> tuple[str, ...]:
    if device == "cpu" and not hardware.has_compiler():
        return ()
    return tuple(name for name in _hardware(device) if name != "int8")


def _hardware(device: str) -> tuple[str, ...]:
    if device == "cpu":
        return hardware.cpu_precisions()
    return hardware.cuda_precisions(device)


def _onnxruntime(card: ModelCard, _device: str) -> tuple[str, ...]:
    return (stored_precision(card),) if _has("onnxruntime", card) else ()


def _has(package: str, card: ModelCard) -> bool:
    """An ONNX graph is looked through by the package onnx before any backend reads it."""
    needed = (package, "onnx") if card.format == "onnx" else (package,)
    return all(map(hardware.has_package, needed))


def _openvino(card: ModelCard, _device: str) -> tuple[str, ...]:
    if not _has("openvino", card):
        return ()
    if (stored := stored_precision(card)) != "fp32":
        return (stored,)
    return hardware.openvino_precisions()


def _vllm(_card: ModelCard, device: str) -> tuple[str, ...]:
    if device == "cpu" or not hardware.has_package("vllm"):
        return ()
    return hardware.cuda_precisions(device)


_PRECISIONS: dict[str, Callable[[ModelCard, str], tuple[str, ...]]] = {
    "torch": _torch,
    "torch_compile": _torch_compile,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "vllm": _vllm,
}

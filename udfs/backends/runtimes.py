"""Which backends and precisions a model folder can be run with here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from schemas.errors import RunFailed
from schemas.model import ModelCard
from udfs.models import hardware
from udfs.plan import Runtime

BACKENDS: dict[str, tuple[str, ...]] = {
    "safetensors": ("torch", "torch_compile"),
    "huggingface": ("torch", "torch_compile"),
    "torchscript": ("torch",),
    "onnx": ("onnxruntime", "openvino"),
    "openvino": ("openvino",),
}
WRITERS = ("torch", "vllm")  # of a card whose step is `generate`


def runtimes(card: ModelCard, device: str = "auto", threads: int = 1) -> list[Runtime]:
    """Every way this process could run the folder, in fp32 by the format's own backend first.

    Hardware and installed packages are asked; nothing is loaded. Empty where the format's packages
    are missing. Raises RunFailed for a device that is not there.
    """
    return [
        Runtime(place, backend, precision, threads)
        for backend in _backends(card)
        if (place := _device(backend, device)) is not None
        for precision in _PRECISIONS[backend](card, place)
    ]


def _backends(card: ModelCard) -> tuple[str, ...]:
    return WRITERS if card.postprocess.name == "generate" else BACKENDS[card.format]


def resolved(card: ModelCard, asked: Runtime) -> Runtime:
    """``asked`` with its device decided. Raises RunFailed, listing what there is, where it cannot be had."""
    there = runtimes(card, asked.device, asked.threads)
    for runtime in there:
        if replace(asked, device=runtime.device) == runtime:
            return runtime
    raise RunFailed(
        f"model {card.title} cannot be run with {asked.backend} in {asked.precision} here",
        got=f"format {card.format}, device {asked.device}",
        allowed=", ".join(f"{r.backend} {r.precision} on {r.device}" for r in there) or "nothing",
        next="set engine.backend and engine.precision, install the backend's package, "
        "or convert the model: millrace model convert",
    )


def _device(backend: str, asked: str) -> str | None:
    """The device that a backend would take for ``asked``; None where it cannot compute there."""
    if backend == "openvino":
        return None if asked.startswith("cuda") else "cpu"
    if backend == "onnxruntime":
        has_cuda = _onnxruntime_has_cuda()
        if asked.startswith("cuda"):
            return asked if has_cuda else None
        return "cuda" if has_cuda and asked == "auto" else "cpu"
    if not hardware.has_package("torch"):
        return None
    has_cuda = asked != "cpu" and hardware.has_cuda()
    if asked.startswith("cuda") and not has_cuda:
        raise RunFailed(
            "the job asks for CUDA and this worker has none",
            got="torch.cuda.is_available() is False",
            allowed="device: cuda on workers with a GPU, else device: cpu or auto",
            next="set engine.device",
        )
    return asked if asked.startswith("cuda") else "cuda" if has_cuda else "cpu"


def _onnxruntime_has_cuda() -> bool:
    if not hardware.has_package("onnxruntime"):
        return False
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def stored_precision(card: ModelCard) -> str:
    """int8 for a folder whose weights were quantised when it was made, else fp32."""
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

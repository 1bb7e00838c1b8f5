"""The variants of a model on this machine: its own format, and conversions to other backends."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from millrace.schemas.calibration import CalibrationRequest
from millrace.schemas.errors import MillraceError
from millrace.schemas.model import ModelCard
from millrace.udfs.backends import hardware
from millrace.udfs.backends.runtimes import runtimes
from millrace.udfs.models import model_loading
from millrace.udfs.models.conversion import convert
from millrace.udfs.runtime.plan import Runtime

# What is measured first is what has won elsewhere; the order decides nothing else.
_PRECISIONS = ("bf16", "fp16", "fp32", "int8")
_BACKENDS = ("openvino", "torch", "onnxruntime", "torch_compile")
_CONVERTED = {
    "openvino": ("fp32",),
    "onnxruntime": ("fp32", "int8"),
}  # precisions of stored weights
_CONVERTIBLE = ("safetensors", "huggingface")


@dataclass(frozen=True)
class Variant:
    """A runtime, and the precision of converted weights for it; None if it reads the folder as it is."""

    runtime: Runtime
    stored: str | None = None  # the converted weights' precision

    def made(self, request: CalibrationRequest) -> tuple[Path, str]:
        """Return the folder that the runtime reads, converted if needed, and its digest."""
        if self.stored is None:
            return Path(request.folder), request.digest
        backend = self.runtime.backend
        out = Path(request.converted) / f"{backend}-{version(backend)}-{self.stored}"
        if not _is_whole(out, request.digest):
            shutil.rmtree(out, ignore_errors=True)
            convert(Path(request.folder), out, backend, self.stored)
        return out, model_loading.digest_of(out)


def reference(card: ModelCard, request: CalibrationRequest) -> Variant:
    """Return the model's own format in fp32, with which every other variant is compared."""
    return Variant(runtimes(card, request.device, request.threads)[0])


def candidates(card: ModelCard, request: CalibrationRequest) -> list[Variant]:
    """List the variants that the request allows, the most promising first."""
    found = [v for v in _all(card, request) if _is_requested(v.runtime, request)]
    return sorted(
        found,
        key=lambda v: (
            _PRECISIONS.index(v.runtime.precision),
            _BACKENDS.index(v.runtime.backend),
        ),
    )


def _all(card: ModelCard, request: CalibrationRequest) -> Iterator[Variant]:
    native = runtimes(card, request.device, request.threads)
    yield from map(Variant, native)
    device = native[0].device if native else "cpu"
    if card.format not in _CONVERTIBLE or card.postprocess.name == "generate":
        return
    for backend, stored in _CONVERTED.items():
        if hardware.has_package(backend) and device == "cpu":
            for weights in stored:
                yield from _converted(backend, weights, request)


def _converted(backend: str, weights: str, request: CalibrationRequest) -> Iterator[Variant]:
    runtime = Runtime("cpu", backend, weights, request.threads)
    yield Variant(runtime, weights)
    if backend == "openvino":  # its precision is chosen when it is loaded
        for precision in hardware.openvino_precisions():
            if precision != weights:
                yield Variant(replace(runtime, precision=precision), weights)


def _is_requested(runtime: Runtime, request: CalibrationRequest) -> bool:
    return request.backend in ("auto", runtime.backend) and request.precision in (
        "auto",
        runtime.precision,
    )


def _is_whole(folder: Path, source_digest: str) -> bool:
    """Whether a conversion of this very model is there already."""
    try:
        card = model_loading.read_card(folder)
        model_loading.verify(folder, card)
    except MillraceError:
        return False
    return card.made_from is not None and card.made_from.digest == source_digest

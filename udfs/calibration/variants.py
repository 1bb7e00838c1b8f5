"""The ways in which a model folder can be computed here: its own format, and what it can be converted to."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from schemas.calibration import Request
from schemas.errors import MillraceError
from schemas.model import ModelCard
from udfs.models import base, hardware
from udfs.models.convert import convert
from udfs.models.runtimes import runtimes
from udfs.plan import Runtime

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
    """A runtime, and what the folder has to be converted to for it; None where it is read as it is."""

    runtime: Runtime
    stored: str | None = None  # the converted weights' precision

    def made(self, request: Request) -> tuple[Path, str]:
        """The folder that the runtime reads, converted if need be, and its digest. Raises ModelError."""
        if self.stored is None:
            return Path(request.folder), request.digest
        backend = self.runtime.backend
        out = Path(request.converted) / f"{backend}-{version(backend)}-{self.stored}"
        if not _is_whole(out, request.digest):
            shutil.rmtree(out, ignore_errors=True)
            convert(Path(request.folder), out, backend, self.stored)
        return out, base.digest_of(out)


def reference(card: ModelCard, request: Request) -> Variant:
    """The model's own format in fp32: what every other way is compared with."""
    return Variant(runtimes(card, request.device, request.threads)[0])


def candidates(card: ModelCard, request: Request) -> list[Variant]:
    """Every way that the request allows, the likeliest first."""
    found = [v for v in _all(card, request) if _is_asked(v.runtime, request)]
    return sorted(
        found,
        key=lambda v: (
            _PRECISIONS.index(v.runtime.precision),
            _BACKENDS.index(v.runtime.backend),
        ),
    )


def _all(card: ModelCard, request: Request) -> Iterator[Variant]:
    native = runtimes(card, request.device, request.threads)
    yield from map(Variant, native)
    device = native[0].device if native else "cpu"
    if card.format not in _CONVERTIBLE or card.postprocess.name == "generate":
        return
    for backend, stored in _CONVERTED.items():
        if hardware.has_package(backend) and device == "cpu":
            for weights in stored:
                yield from _converted(backend, weights, request)


def _converted(backend: str, weights: str, request: Request) -> Iterator[Variant]:
    runtime = Runtime("cpu", backend, weights, request.threads)
    yield Variant(runtime, weights)
    if backend == "openvino":  # its precision is chosen when it is loaded
        for precision in hardware.openvino_precisions():
            if precision != weights:
                yield Variant(replace(runtime, precision=precision), weights)


def _is_asked(runtime: Runtime, request: Request) -> bool:
    return request.backend in ("auto", runtime.backend) and request.precision in (
        "auto",
        runtime.precision,
    )


def _is_whole(folder: Path, source_digest: str) -> bool:
    """Whether a conversion of this very model is there already."""
    try:
        card = base.read_card(folder)
        base.verify(folder, card)
    except MillraceError:
        return False
    return card.made_from is not None and card.made_from.digest == source_digest

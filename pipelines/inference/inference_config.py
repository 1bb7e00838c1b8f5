"""What every worker of a run computes with: model folder, backend, precision, device and batches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from millrace.pipelines.job.model_check import VerifiedModel
from millrace.pipelines.job.prepared_job import PreparedJob
from millrace.pipelines.lake.location import LakeLocation
from millrace.schemas.model import ModelCard
from millrace.udfs.runtime.plan import Runtime

_NATIVE = {"onnx": "onnxruntime", "openvino": "openvino"}  # torch reads every other format


@dataclass(frozen=True)
class InferenceConfig:
    """What every worker of a run computes with."""

    folder: Path
    digest: str
    runtime: Runtime
    batch_cost: int | None = None  # None: each worker finds it
    why: str = ""
    rows_per_s: float | None = None  # of one worker; None: not measured

    @property
    def computed_with(self) -> str:
        """Model, backend, precision and device, in a line: what memory suffices for depends on them."""
        runtime = self.runtime
        return f"{self.digest[:16]} {runtime.backend} {runtime.precision} {runtime.device}"

    @property
    def settings(self) -> dict[str, str]:
        """What the run's events say of it."""
        return {
            "backend": self.runtime.backend,
            "precision": self.runtime.precision,
            "computed_so_because": self.why,
        }


def native(prepared: PreparedJob) -> InferenceConfig:
    """What the job's settings and the model's format result in where nothing is measured."""
    engine, card, model = prepared.job.engine, prepared.model.card, prepared.model
    backend = _NATIVE.get(card.format, "torch") if engine.backend == "auto" else engine.backend
    precision = stored_precision(card) if engine.precision == "auto" else engine.precision
    return InferenceConfig(model.folder, model.digest, Runtime(engine.device, backend, precision))


def reads_native_format(prepared: PreparedJob) -> bool:
    """Whether the backend that the job asks for reads the model's own format."""
    backend, format_ = prepared.job.engine.backend, prepared.model.card.format
    is_torch = backend in ("torch", "torch_compile") and format_ not in _NATIVE
    return backend in ("auto", _NATIVE.get(format_)) or is_torch


def native_is_allowed(prepared: PreparedJob) -> bool:
    """Whether the job allows the model's native backend and precision."""
    engine, card = prepared.job.engine, prepared.model.card
    is_fixed = card.format in ("onnx", "torchscript") or stored_precision(card) != "fp32"
    is_so = not is_fixed or engine.precision in ("auto", stored_precision(card))
    return reads_native_format(prepared) and is_so


def stored_precision(card: ModelCard) -> str:
    """Return the precision of the model's own files."""
    return card.made_from.precision if card.made_from else "fp32"


def conversions(lake: LakeLocation, model: VerifiedModel) -> Path:
    """The folder for what is converted from the model: a new one where earlier versions made other graphs."""
    folder = lake.models / model.digest[:16]
    return (
        folder / str(model.computed_as["computes"]) if "computes" in model.computed_as else folder
    )

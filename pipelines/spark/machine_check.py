"""Checks that this machine has what the job needs, before any worker starts; nothing is loaded."""

from __future__ import annotations

import os
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from millrace.pipelines.spark import connect
from millrace.schemas.config import AUTO, Engine
from millrace.schemas.errors import UsageError
from millrace.schemas.model import ModelCard
from millrace.udfs.backends import hardware

_PACKAGES = {
    "torch": "torch",
    "torch_compile": "torch",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "vllm": "vllm",
}
_EXTRAS = {"onnxruntime": "onnx", "openvino": "openvino", "vllm": "vllm"}
# What reads each format; the others are converted first.
_READERS = {
    "onnx": ("onnxruntime", "openvino"),
    "openvino": ("openvino",),
    "torchscript": ("torch",),
}
_WRITERS = ("torch", "vllm")  # of models that write texts


def computes_here(master: str | None = None) -> bool:
    """Whether the session that opens now surely has its workers on this machine."""
    if "PYSPARK_GATEWAY_PORT" in os.environ or connect.remote() is not None:
        return False
    where = master or os.environ.get("MASTER") or "local"
    return where == "local" or where.startswith("local[")


def check_java() -> None:
    """Raise UsageError where no program starts a JVM, which every Spark session of this process needs."""
    if "PYSPARK_GATEWAY_PORT" in os.environ or connect.remote() is not None:
        return
    home = os.environ.get("JAVA_HOME")
    program = str(Path(home) / "bin" / "java") if home else "java"  # as PySpark looks for it
    if shutil.which(program) is None:
        raise UsageError(
            "Spark needs Java, which is not installed",
            got=f"no program {program}",
            allowed="Java 17 or 21; none for jobs that the embedded engine accepts (docs/EMBEDDED.md)",
            next="install Java (apt-get install openjdk-17-jre-headless), or set JAVA_HOME",
        )


def check_machine(engine: Engine) -> None:
    """Raise UsageError for a device or a package that the job pins and this machine does not have."""
    if engine.device == "cuda" and not _may_have_cuda():
        raise UsageError(
            "the job asks for CUDA and this machine has none",
            got=f"engine.device: cuda; {_why_no_cuda()}",
            allowed="device: cuda on machines with a GPU, else device: cpu or auto",
            next="set engine.device to auto",
        )
    package = _PACKAGES.get(engine.backend)
    if package is not None and not hardware.has_package(package):
        extra = _EXTRAS.get(package)
        raise UsageError(
            f"the job asks for {engine.backend}, and its package is not installed",
            got=f"engine.backend: {engine.backend}; no package {package}",
            next=f"pip install 'millrace[{extra}]', or set engine.backend to auto"
            if extra
            else "set engine.backend to auto",
        )


def check_model(engine: Engine, card: ModelCard) -> None:
    """Raise UsageError for a backend or surface that cannot read the model, wherever it runs."""
    check_surface(engine, card)
    backends = _backends(card)
    if engine.backend != AUTO and engine.backend not in backends:
        raise UsageError(
            f"model {card.title} cannot be computed with {engine.backend}",
            got=f"engine.backend: {engine.backend}; format {card.format}, step {card.postprocess.name}",
            allowed=", ".join((AUTO, *backends)),
            next="set engine.backend to auto, or convert the model: millrace model convert",
        )


def check_surface(engine: Engine, card: ModelCard) -> None:
    """Raise UsageError for instants on the pandas surface, which has them in the session's time zone."""
    instants = [name for name, one in card.signature.inputs.items() if one.type == "timestamp"]
    if instants and engine.surface == "pandas":
        raise UsageError(
            f"model {card.title} reads instants, which pandas has in local time",
            got=f"engine.surface: pandas; {', '.join(instants)}",
            allowed="engine.surface: arrow",
            next="set engine.surface to arrow",
        )


def _backends(card: ModelCard) -> tuple[str, ...]:
    if card.postprocess.name == "generate":
        return _WRITERS
    return _READERS.get(card.format, tuple(name for name in _PACKAGES if name != "vllm"))


def _may_have_cuda() -> bool:
    """False only where it is certain: torch, which would take seconds and a GPU's memory, is not imported."""
    return hardware.shows_card() and not _torch().endswith("+cpu")


def _why_no_cuda() -> str:
    return f"torch {_torch()} is built without it" if hardware.shows_card() else "no card's driver"


def _torch() -> str:
    try:
        return version("torch")
    except PackageNotFoundError:
        return "unknown"

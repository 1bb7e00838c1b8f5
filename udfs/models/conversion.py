"""Converts a model folder to another backend's format, and compares it with its source."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from millrace.schemas.errors import ModelError
from millrace.schemas.model import ModelCard
from millrace.udfs.backends.hardware import has_package
from millrace.udfs.models.loaded_model import LoadedModel
from millrace.udfs.models.model_folder import whole_folder, write_card
from millrace.udfs.models.model_loading import digest_of, read_card, verify
from millrace.udfs.models.sample_inputs import ROWS, sample
from millrace.udfs.runtime.plan import Runtime
from millrace.udfs.tokenization.library_tokenizer import (
    is_resolved,
    library_tokenizer,
    write_resolved,
)
from millrace.udfs.tokenization.tokenizer import TokenDecoder

FORMATS = {
    "openvino": "openvino",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "torchscript": "torchscript",
}
BACKENDS = {"openvino": "openvino", "onnx": "onnxruntime", "torchscript": "torch"}
PRECISIONS = {"openvino": ("fp32",), "onnx": ("fp32", "int8"), "torchscript": ("fp32",)}
PACKAGES = {
    "openvino": ("openvino",),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "torchscript": (),
}
SOURCES = ("safetensors", "huggingface")
MAX_DIFFERENCE = 1e-4
_TOKENIZER_SUFFIXES = (".json", ".txt", ".model")


def convert(folder: Path, out: Path, backend: str, precision: str = "fp32") -> ModelCard:
    """Make ``out``, a model folder for ``backend``, from the one in ``folder``, and return its card.

    Both folders run on a sample; in fp32 ``out`` is created only if they agree within 1e-4.

    Args:
        backend: openvino, onnx (or onnxruntime), or torchscript.

    Raises:
        ModelError: the conversion is not possible, or its results differ.
    """
    format_ = _format(backend, precision)
    card = _source_card(folder)
    with whole_folder(out, folder) as made:
        if card.preprocess.name == "tokens":
            card = _with_tokenizer(folder, card, made)
        source = LoadedModel(folder, card, Runtime("cpu"))
        _export(source, folder, made, format_, precision)
        origin = {"digest": digest_of(folder), "format": card.format, "precision": precision}
        new = write_card(made, **_shared_fields(card, format_), made_from=origin)
        _check(source, LoadedModel(made, new, Runtime("cpu", BACKENDS[format_], precision)))
    return new


def _format(backend: str, precision: str) -> str:
    """The format that a backend reads. Raises ModelError where there is no way there, or not here."""
    if backend not in FORMATS or precision not in PRECISIONS[FORMATS[backend]]:
        raise ModelError(
            f"no conversion to {backend} in {precision}",
            allowed="; ".join(f"{name}: {', '.join(p)}" for name, p in PRECISIONS.items()),
            next="convert in fp32: bf16 and fp16 are chosen when an OpenVINO model is loaded",
        )
    format_ = FORMATS[backend]
    if missing := [name for name in PACKAGES[format_] if not has_package(name)]:
        raise ModelError(
            f"a conversion to {format_} needs packages that are not installed",
            got=f"missing: {', '.join(missing)}",
            next=f"pip install 'millrace[{format_}]'",
        )
    return format_


def _source_card(folder: Path) -> ModelCard:
    """The card of a verified folder that can be converted. Raises ModelError."""
    card = read_card(folder)
    verify(folder, card)
    if card.format not in SOURCES:
        raise ModelError(
            f"{folder} is a conversion's result and not its source",
            got=f"format {card.format}",
            allowed=", ".join(SOURCES),
            next="convert the model that it was made from",
        )
    if card.postprocess.name == "generate":
        raise ModelError(
            f"{folder} writes text, which is no single graph",
            got="postprocess generate",
            next="run it with backend torch or vllm",
        )
    return card


def _shared_fields(card: ModelCard, format_: str) -> dict[str, object]:
    """What the new card says as the source's does."""
    same = card.model_dump(
        mode="json",
        exclude_defaults=True,
        exclude={"architecture", "checks", "files", "format", "made_from"},
    )
    return {**same, "format": format_}


def _with_tokenizer(folder: Path, card: ModelCard, made: Path) -> ModelCard:
    """The card with the tokenizer's own limit, once ``made`` has the tokenizer.

    As one file where there is such a file of it: what reads it then imports no Transformers.
    """
    copies_all = is_resolved(folder) or not write_resolved(library_tokenizer(folder), made)
    for name in card.files:
        is_copied = (
            Path(name).suffix in _TOKENIZER_SUFFIXES if copies_all else name == "config.json"
        )
        if is_copied and "/" not in name:
            shutil.copyfile(folder / name, made / name)
    limit = {"max_tokens": TokenDecoder(folder, card).longest}
    options = card.preprocess.options.model_copy(update=limit)
    step = card.preprocess.model_copy(update={"options": options})
    return card.model_copy(update={"preprocess": step})


def _export(source: LoadedModel, folder: Path, made: Path, format_: str, precision: str) -> None:
    from millrace.udfs.backends.graph_export import EXPORTS
    from millrace.udfs.graphs.build import graph_of

    EXPORTS[format_](graph_of(folder, source.card), source.arrays(sample(source)), made)
    if precision == "int8":
        from millrace.udfs.backends.graph_export import quantize_onnx

        quantize_onnx(made)


def _check(source: LoadedModel, made: LoadedModel) -> None:
    """Raise ModelError where the new model does not do on a sample what its source does."""
    before, after = sample(source), sample(made)
    if not all(map(np.array_equal, before, after)):
        raise ModelError("the converted folder's tokenizer gives other ids than its source's")
    limit = MAX_DIFFERENCE if made.runtime.precision == "fp32" else np.inf
    for rows in (slice(0, ROWS), slice(0, 1), slice(2, 5)):  # any number of them must do
        values = before[rows]
        results = [model.runner.run(model.arrays(values)) for model in (source, made)]
        difference = float(np.abs(results[0] - results[1]).max())
        if not difference <= limit:  # NaN is no agreement either
            raise ModelError(
                f"model {made.card.title} converted to {made.card.format} gives other results",
                got=f"largest difference {difference:.3g}",
                allowed=f"{limit:g}",
                next="use the source as it is; the backend computes some layer differently",
            )

"""``model.yaml``: what a model folder holds, what the model takes, and what it promises to give."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from schemas.contract import Frozen, TypeName
from schemas.generation import check_generate

# What each step reads and gives. The steps themselves are in udfs/decode.py and udfs/models/heads.py;
# the names live here so that a job is checked before any worker starts.
PREPROCESS: dict[str, tuple[str, ...]] = {
    "pixels": ("binary",),  # raw bytes, one an element of the shape
    "image": ("binary",),  # an encoded PNG or JPEG
    "vector": ("array<float>", "array<double>"),
    "columns": ("tinyint", "smallint", "int", "bigint", "float", "double", "boolean"),
    "tokens": ("string",),
}
POSTPROCESS: dict[str, tuple[str, ...]] = {
    "classify": ("label", "score", "probabilities"),
    "embed": ("embedding",),
    "values": ("value", "values"),
    "generate": ("text", "tokens_in", "tokens_out", "finish"),
}

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Column(Frozen):
    """One typed column of a signature; ``shape`` is that of one row's value, without the batch."""

    type: TypeName
    shape: tuple[int, ...] = ()
    comment: str = ""


class Signature(Frozen):
    """The columns a model reads and the columns it returns, in order."""

    inputs: dict[str, Column] = Field(min_length=1)
    outputs: dict[str, Column] = Field(min_length=1)


class Step(Frozen):
    """A pre- or post-processing step, by the name it has in Millrace, and its settings."""

    name: str
    options: dict[str, Any] = {}


class Architecture(Frozen):
    """A network that Millrace ships, by name, and its sizes."""

    name: Literal["cnn", "mlp", "lstm"]
    options: dict[str, Any] = {}


class Tolerance(Frozen):
    """How far outputs may be from those in fp32, on every row, for a faster way to be taken.

    Embeddings: the cosine of each row. Labels: the share that is equal. Values: the largest
    difference, relative to the values' own spread.
    """

    min_cosine: Annotated[float, Field(gt=0, le=1)] = 0.999
    min_equal_labels: Annotated[float, Field(gt=0, le=1)] = 0.999
    max_relative_error: Annotated[float, Field(ge=0)] = 0.01


class MadeFrom(Frozen):
    """What a converted folder was made from. Its graph scales its input and ends as the steps say."""

    digest: Sha256  # of the source's model.yaml
    format: str
    precision: Literal["fp32", "int8"] = "fp32"  # of the weights as they are stored


class ModelCard(Frozen):
    """Everything that ``model.yaml`` says."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    version: str
    format: Literal["safetensors", "huggingface", "torchscript", "onnx", "openvino"]
    architecture: Architecture | None = None
    signature: Signature
    preprocess: Step
    postprocess: Step
    files: dict[str, Sha256] = Field(min_length=1)
    licence: str
    tolerance: Tolerance = Tolerance()
    made_from: MadeFrom | None = None
    metrics: dict[str, float] = {}

    @model_validator(mode="after")
    def _is_sound(self) -> ModelCard:
        if (self.format == "safetensors") != (self.architecture is not None):
            raise ValueError("architecture is given for format safetensors, and only there")
        for name in self.files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts:
                raise ValueError(f"file {name!r} is outside of the model's folder")
            if path.suffix not in (allowed := DATA_SUFFIXES + FORMAT_SUFFIXES[self.format]):
                raise ValueError(
                    f"file {name!r} may hold code; models load as data: {', '.join(allowed)}"
                )
        return self

    @model_validator(mode="after")
    def _steps_are_known(self) -> ModelCard:
        if self.preprocess.name not in PREPROCESS:
            raise ValueError(
                f"preprocess {self.preprocess.name!r}; allowed: {', '.join(PREPROCESS)}"
            )
        for name, column in self.signature.inputs.items():
            allowed = PREPROCESS[self.preprocess.name]
            if column.type not in allowed:
                raise ValueError(
                    f"input {name!r} is {column.type}; {self.preprocess.name} reads {', '.join(allowed)}"
                )
        if self.postprocess.name not in POSTPROCESS:
            raise ValueError(
                f"postprocess {self.postprocess.name!r}; allowed: {', '.join(POSTPROCESS)}"
            )
        gives = POSTPROCESS[self.postprocess.name]
        if unknown := [name for name in self.signature.outputs if name not in gives]:
            raise ValueError(
                f"output {', '.join(unknown)}: {self.postprocess.name} gives {', '.join(gives)}"
            )
        return self

    @model_validator(mode="after")
    def _step_can_read_the_inputs(self) -> ModelCard:
        step, inputs = self.preprocess.name, list(self.signature.inputs.values())
        if step == "tokens" and self.format == "safetensors":
            raise ValueError("preprocess tokens is not for format safetensors")
        if step != "tokens" and self.format == "huggingface":
            raise ValueError("format huggingface reads texts: preprocess tokens")
        if step != "columns" and len(inputs) > 1:
            raise ValueError(f"{step} reads one column, not {', '.join(self.signature.inputs)}")
        if step == "image" and (len(inputs[0].shape) != 3 or inputs[0].shape[0] not in (1, 3)):  # noqa: PLR2004
            raise ValueError("image gives the shape [channels, height, width], of 1 or 3 channels")
        return self

    @model_validator(mode="after")
    def _has_one_graph(self) -> ModelCard:
        if self.format != "huggingface":
            suffix = {"safetensors": ".safetensors", **GRAPH_SUFFIXES}[self.format]
            found = [name for name in self.files if name.endswith(suffix)]
            if len(found) != 1:
                what = "weights" if self.format == "safetensors" else suffix
                raise ValueError(f"format {self.format} has one file of {what}, not {len(found)}")
            if self.format == "openvino":
                own = str(PurePosixPath(found[0]).with_suffix(".bin"))
                if other := [n for n in self.files if n.endswith(".bin") and n != own]:
                    raise ValueError(f"{', '.join(other)}: {found[0]} reads {own} alone")
        return self

    @model_validator(mode="after")
    def _texts_can_be_written(self) -> ModelCard:
        if self.postprocess.name == "generate":
            if self.format != "huggingface":
                raise ValueError("postprocess generate is for format huggingface, and only there")
            check_generate(self.postprocess.options, self.preprocess.options)
        return self

    @property
    def title(self) -> str:
        """Name and version, as tables show them."""
        return f"{self.name}:{self.version}"


DATA_SUFFIXES = (".safetensors", ".json", ".txt", ".model", ".md")
GRAPH_SUFFIXES = {"torchscript": ".ts", "onnx": ".onnx", "openvino": ".xml"}
FORMAT_SUFFIXES: dict[str, tuple[str, ...]] = {
    "safetensors": (),
    "huggingface": (),
    "torchscript": (".ts",),  # code: a job must trust it (ModelRef.trust)
    "onnx": (".onnx", ".data"),
    "openvino": (".xml", ".bin"),
}

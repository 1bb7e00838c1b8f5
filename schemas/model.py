"""``model.yaml``: the files of a model folder, the model's inputs, and its promised outputs."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import Field, model_validator

from millrace.schemas.architecture import Architecture
from millrace.schemas.column_numbers import why_no_number
from millrace.schemas.column_spec import TypeName
from millrace.schemas.frozen import Frozen
from millrace.schemas.steps import POSTPROCESS, PREPROCESS, PixelsOptions, Postprocess, Preprocess

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class SignatureColumn(Frozen):
    """One typed column of a signature; ``shape`` is that of one row's value, without the batch."""

    type: TypeName
    shape: tuple[int, ...] = ()
    comment: str = ""


class Signature(Frozen):
    """The columns a model reads and the columns it returns, in order."""

    inputs: dict[str, SignatureColumn] = Field(min_length=1)
    outputs: dict[str, SignatureColumn] = Field(min_length=1)


class Tolerance(Frozen):
    """Largest differences from the outputs in fp32, on every row, that a faster variant may have.

    Embeddings: the cosine of each row. Labels: the share that is equal. Values: the largest
    difference, relative to the values' own spread.
    """

    min_cosine: Annotated[float, Field(gt=0, le=1)] = 0.999
    min_equal_labels: Annotated[float, Field(gt=0, le=1)] = 0.999
    max_relative_error: Annotated[float, Field(ge=0)] = 0.01


class ConversionSource(Frozen):
    """What a converted folder was made from. Its graph scales its input and ends as the steps say."""

    digest: Sha256  # of the source's model.yaml
    format: str
    precision: Literal["fp32", "int8"] = "fp32"  # of the weights as they are stored


class Check(Frozen):
    """One comparison with the library that a model comes from, made when the folder was made."""

    compared: str  # token ids, probabilities, embedding, value ...
    library: str  # loaded the source and computed the reference
    version: str  # of the library
    rows: Annotated[int, Field(ge=1)]
    largest_difference: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    allowed: Annotated[float, Field(ge=0, allow_inf_nan=False)]


class ModelCard(Frozen):
    """Everything that ``model.yaml`` says."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    version: str
    format: Literal["safetensors", "huggingface", "torchscript", "onnx", "openvino"]
    architecture: Architecture | None = None
    signature: Signature
    preprocess: Preprocess
    postprocess: Postprocess
    files: dict[str, Sha256] = Field(min_length=1)
    licence: str
    tolerance: Tolerance = Tolerance()
    made_from: ConversionSource | None = None
    checks: tuple[Check, ...] = ()
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
    def _steps_fit_the_signature(self) -> ModelCard:
        for name, column in self.signature.inputs.items():
            allowed = PREPROCESS[self.preprocess.name]
            if column.type not in allowed:
                raise ValueError(
                    f"input {name!r} is {column.type}; {self.preprocess.name} reads {', '.join(allowed)}"
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
    def _every_column_is_a_number(self) -> ModelCard:
        if self.preprocess.name == "columns":
            kinds = {name: column.type for name, column in self.signature.inputs.items()}
            if why := why_no_number(kinds, self.preprocess.options):
                raise ValueError(why)
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
        if self.postprocess.name == "generate" and self.format != "huggingface":
            raise ValueError("postprocess generate is for format huggingface, and only there")
        return self

    @model_validator(mode="after")
    def _every_option_is_read(self) -> ModelCard:
        """An option that the rest of the card makes meaningless is refused: it would change nothing."""
        before, after = self.preprocess, self.postprocess
        if before.name == "tokens" and before.options.truncate and after.name != "generate":
            raise ValueError("preprocess.options.truncate is read only with postprocess generate")
        if before.name == "tokens" and before.options.prompt and after.name == "generate":
            raise ValueError("preprocess.options.prompt is not read with postprocess generate")
        if self.is_foreign and "activation" in after.options.model_fields_set:
            raise ValueError("postprocess.options.activation is not read of a graph made elsewhere")
        is_pooled = before.name == "tokens"
        if after.name == "embed" and "pooling" in after.options.model_fields_set and not is_pooled:
            raise ValueError("postprocess.options.pooling is read only with preprocess tokens")
        if before.name == "columns" and before.options.type != "float" and not self.is_foreign:
            raise ValueError(
                "preprocess.options.type is for graphs made elsewhere; ours read float"
            )
        if isinstance(before.options, PixelsOptions):
            ((_, column),) = self.signature.inputs.items()
            _check_channels(before.options, column.shape)
        return self

    @model_validator(mode="after")
    def _says_how_a_foreign_graph_ends(self) -> ModelCard:
        step = self.postprocess
        if self.tensor is not None and not (self.is_foreign and self.format != "torchscript"):
            raise ValueError(
                "postprocess.options.tensor is for graphs made elsewhere, in onnx or openvino"
            )
        if step.name != "classify":
            return self
        if self.is_foreign and step.options.output is None:
            raise ValueError(
                f"postprocess.options.output is missing: a graph in {self.format} ends in logits or in "
                "probabilities, and only one of them is to be given a softmax; allowed: logits, "
                "probabilities; millrace model import finds out which"
            )
        if not self.is_foreign and step.options.output is not None:
            raise ValueError(
                "postprocess.options.output is for graphs made elsewhere; this one's end is known"
            )
        return self

    @property
    def is_foreign(self) -> bool:
        """Whether the graph comes from elsewhere: neither Millrace's own nor converted by it."""
        return self.format in GRAPH_SUFFIXES and self.made_from is None

    @property
    def tensor(self) -> str | None:
        """Return the name of the graph's output that is read; None: its first."""
        step = self.postprocess
        return step.options.tensor if step.name in ("classify", "values") else None

    @property
    def title(self) -> str:
        """Return name and version, as tables show them."""
        return f"{self.name}:{self.version}"


def _check_channels(options: PixelsOptions, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless mean and std are one number, or one a channel of ``shape``."""
    channels = shape[0] if len(shape) == 3 else 1  # noqa: PLR2004 - [channels, height, width]
    for name in ("mean", "std"):
        given = getattr(options, name)
        if len(given) not in (1, channels):
            raise ValueError(
                f"preprocess.options.{name} has {len(given)} numbers; allowed: one number, "
                f"or one a channel, which are {channels}"
            )


DATA_SUFFIXES = (".safetensors", ".json", ".txt", ".model", ".md")
GRAPH_SUFFIXES = {"torchscript": ".ts", "onnx": ".onnx", "openvino": ".xml"}
FORMAT_SUFFIXES: dict[str, tuple[str, ...]] = {
    "safetensors": (),
    "huggingface": (),
    "torchscript": (".ts",),  # code: a job must trust it (ModelRef.trust)
    "onnx": (".onnx", ".data"),
    "openvino": (".xml", ".bin"),
}

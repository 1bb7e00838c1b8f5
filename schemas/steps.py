"""The pre- and postprocess steps of a model card: each has a name and a closed set of options.

The steps themselves are in udfs/runtime/decode.py, udfs/backends/postprocess.py and udfs/graphs/heads.py.
Names and options are here, so that a card is checked before any worker starts.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainValidator, model_validator

from millrace.schemas.frozen import Frozen
from millrace.schemas.generation import Generation
from millrace.schemas.options import Options

# What each step reads, and what each gives.
PREPROCESS: dict[str, tuple[str, ...]] = {
    "pixels": ("binary",),  # raw bytes, one an element of the shape
    "image": ("binary",),  # an encoded picture
    "vector": ("array<float>", "array<double>"),
    "columns": (
        *("tinyint", "smallint", "int", "bigint", "float", "double", "boolean"),
        *("date", "timestamp", "string"),  # as the numbers that `times` and `categories` declare
    ),
    "tokens": ("string",),
}
POSTPROCESS: dict[str, tuple[str, ...]] = {
    "classify": ("label", "score", "probabilities"),
    "embed": ("embedding",),
    "values": ("value", "values"),
    "generate": ("text", "tokens_in", "tokens_out", "finish"),
}


def _one_or_many(given: Any) -> Any:
    return (given,) if isinstance(given, int | float) else given


def _label(given: Any) -> str | int:
    """The label. YAML reads ``no`` and ``yes`` as booleans, which are no labels."""
    if isinstance(given, str | int) and not isinstance(given, bool):
        return given
    raise ValueError("a label is a text or a whole number; put other values in quotes")


Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Byte = Annotated[int, Field(strict=True, ge=0, le=255)]
Color = tuple[Byte, Byte, Byte]
WHITE = (255, 255, 255)
PerChannel = Annotated[tuple[Finite, ...], Field(min_length=1), BeforeValidator(_one_or_many)]
PositivePerChannel = Annotated[
    tuple[Positive, ...], Field(min_length=1), BeforeValidator(_one_or_many)
]
Labels = Annotated[tuple[Annotated[str | int, PlainValidator(_label)], ...], Field(min_length=1)]


class ScaleOptions(Options):
    """Numbers that the graph reads multiplied by ``scale``."""

    scale: Positive = 1.0


class PixelsOptions(ScaleOptions):
    """The graph reads ``(value * scale - mean) / std``, each one number or one a channel."""

    mean: PerChannel = (0.0,)  # one number, or one a channel
    std: PositivePerChannel = (1.0,)  # one number, or one a channel


class ImageOptions(PixelsOptions):
    """The graph reads ``(value * scale - mean) / std``, with values from 0 to 255."""

    orientation: Literal["exif", "stored"] = "exif"  # exif: upright, as a person sees the picture
    background: Color = WHITE  # red, green and blue, from 0 to 255, behind what is transparent
    max_pixels: Annotated[int, Field(ge=1)] = 50_000_000  # a larger image is an error of its row


class VectorOptions(ScaleOptions):
    """The graph reads the vector multiplied by ``scale``."""


class Vocabulary(Options):
    """The texts that a column may have: the graph reads a text as its place in the list, from 0."""

    values: Annotated[tuple[str, ...], Field(min_length=1)]
    unknown: Literal["error"] | int = "error"  # what any other text is: a row error, or this number

    @model_validator(mode="after")
    def _values_differ(self) -> Vocabulary:
        if twice := sorted({one for one in self.values if self.values.count(one) > 1}):
            raise ValueError(f"values must differ; twice: {', '.join(twice)}")
        return self


Unit = Literal["days", "seconds", "microseconds"]


class ColumnsOptions(ScaleOptions):
    """The graph reads one number a column, all of one type, multiplied by ``scale``."""

    type: Literal["float", "double", "bigint"] = "float"  # of the graph's input
    missing: Literal["error", "nan"] = "error"  # what a null or NaN is: a row error, or NaN
    # Whether a whole number or an instant that the type cannot hold is a row error; else it is rounded.
    exact: bool | None = None  # none: false
    times: dict[str, Unit] = {}  # what dates (days) and timestamps count since 1970-01-01 UTC
    categories: dict[str, Vocabulary] = {}  # the vocabularies of inputs of type string

    @model_validator(mode="after")
    def _whole_numbers_are_read_as_they_are(self) -> ColumnsOptions:
        if self.type == "bigint" and (self.missing == "nan" or self.scale != 1):
            raise ValueError(
                "type bigint has no NaN and no scale; allowed: missing: error, scale: 1"
            )
        return self


class TokensOptions(Options):
    """How texts become token ids, by the folder's own tokenizer."""

    max_tokens: Annotated[int, Field(ge=1)] | None = None  # none: 256; prompts: the context
    truncate: Literal["left", "right"] | None = None  # of long prompts; none: a row error
    prompt: str = ""  # before each text, as the model was trained to read it


class ClassifyOptions(Options):
    """How the likeliest class is named, and what a graph made elsewhere ends in.

    ``output`` and ``tensor`` are for formats onnx, openvino and torchscript. A graph with one number
    a row gives that of the second class.
    """

    output: Literal["logits", "probabilities"] | None = None  # what the graph ends in
    tensor: str | None = None  # the output of the graph that is read; none: its first
    labels: Labels | None = None  # in the graph's order; none: a class is its number
    activation: Literal["softmax", "sigmoid"] = (
        "softmax"  # sigmoid: classes do not exclude each other
    )


class EmbedOptions(Options):
    """How token vectors become one vector, and how long that is."""

    pooling: Literal["mean", "first"] = "mean"  # read only with preprocess tokens
    normalize: bool = True  # to length one


class ValuesOptions(Options):
    """Which numbers are read; ``tensor`` is for formats onnx and openvino."""

    tensor: str | None = None  # the output of the graph that is read; none: its first


class PixelsStep(Frozen):
    """Raw bytes, one a value."""

    name: Literal["pixels"]
    options: PixelsOptions = PixelsOptions()


class ImageStep(Frozen):
    """Encoded images, resized to the signature's shape."""

    name: Literal["image"]
    options: ImageOptions = ImageOptions()


class VectorStep(Frozen):
    """A list of numbers a row."""

    name: Literal["vector"]
    options: VectorOptions = VectorOptions()


class ColumnsStep(Frozen):
    """One number a column."""

    name: Literal["columns"]
    options: ColumnsOptions = ColumnsOptions()


class TokensStep(Frozen):
    """Texts, by the folder's own tokenizer."""

    name: Literal["tokens"]
    options: TokensOptions = TokensOptions()


class ClassifyStep(Frozen):
    """The likeliest class, its probability, and the probabilities of all classes."""

    name: Literal["classify"]
    options: ClassifyOptions = ClassifyOptions()


class EmbedStep(Frozen):
    """One vector a row."""

    name: Literal["embed"]
    options: EmbedOptions = EmbedOptions()


class ValuesStep(Frozen):
    """Numbers as the graph gives them."""

    name: Literal["values"]
    options: ValuesOptions = ValuesOptions()


class GenerateStep(Frozen):
    """A text, written token by token."""

    name: Literal["generate"]
    options: Generation


Preprocess = Annotated[
    PixelsStep | ImageStep | VectorStep | ColumnsStep | TokensStep, Field(discriminator="name")
]
Postprocess = Annotated[
    ClassifyStep | EmbedStep | ValuesStep | GenerateStep, Field(discriminator="name")
]

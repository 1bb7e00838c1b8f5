"""The networks that Millrace ships, as a model card names them, each with its options."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from millrace.schemas.frozen import Frozen
from millrace.schemas.options import Options

Size = Annotated[int, Field(ge=1)]


class CnnOptions(Options):
    """Sizes of network ``cnn``."""

    channels: tuple[Size, ...] = (32, 64)  # of each convolution
    dense: Size = 64
    classes: Size = 10


class MlpOptions(Options):
    """Sizes of network ``mlp``."""

    hidden: tuple[Size, ...] = (64,)
    outputs: Size = 1


class LstmOptions(Options):
    """Sizes of network ``lstm``."""

    hidden: Size = 64
    layers: Size = 1
    outputs: Size = 1


class CnnArchitecture(Frozen):
    """3x3 convolutions with ReLU and 2x2 max-pooling, then two dense layers."""

    name: Literal["cnn"]
    options: CnnOptions = CnnOptions()


class MlpArchitecture(Frozen):
    """Dense layers with ReLU between them."""

    name: Literal["mlp"]
    options: MlpOptions = MlpOptions()


class LstmArchitecture(Frozen):
    """An LSTM over time steps, then a dense layer on its last state."""

    name: Literal["lstm"]
    options: LstmOptions = LstmOptions()


Architecture = Annotated[
    CnnArchitecture | MlpArchitecture | LstmArchitecture, Field(discriminator="name")
]
NETWORK_OPTIONS: dict[str, type[Options]] = {
    "cnn": CnnOptions,
    "mlp": MlpOptions,
    "lstm": LstmOptions,
}

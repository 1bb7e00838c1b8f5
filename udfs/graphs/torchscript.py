"""Format ``torchscript``: a graph that somebody saved with torch.jit.

Such a file holds code, which runs when the model does: a job has to say ``model.trust: code``. torch
deprecates the format; it is read for models that exist in no other.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import nn

from schemas.errors import ModelError
from schemas.model import ModelCard


def script_graph(folder: Path, card: ModelCard) -> nn.Module:
    """The folder's graph on the CPU. Raises ModelError where it cannot be read."""
    (name,) = [name for name in card.files if name.endswith(".ts")]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.load` is deprecated", DeprecationWarning)
        try:
            found: nn.Module = torch.jit.load(folder / name, map_location="cpu")  # type: ignore[no-untyped-call]
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"{folder / name} cannot be loaded", got=str(error)[:500]) from None
    return found

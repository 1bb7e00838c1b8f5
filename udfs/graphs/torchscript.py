"""Format ``torchscript``: a graph saved by torch.jit.

Such a file contains code, which runs with the model: a job must have ``model.trust: code``. torch
deprecates the format; Millrace reads it for models that exist in no other.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import nn

from millrace.schemas.errors import ModelError
from millrace.schemas.model import ModelCard

_AGAIN = "fetch it or save it with torch.jit.save again; a state_dict is no TorchScript"


def script_graph(folder: Path, card: ModelCard) -> nn.Module:
    """Load the folder's graph on the CPU. Raises ModelError if it cannot be read."""
    (name,) = [name for name in card.files if name.endswith(".ts")]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.load` is deprecated", DeprecationWarning)
        try:
            found: nn.Module = torch.jit.load(folder / name, map_location="cpu")  # type: ignore[no-untyped-call]
        except (RuntimeError, ValueError) as error:
            raise ModelError(
                f"{folder / name} cannot be loaded", got=str(error)[:500], next=_AGAIN
            ) from None
    return found

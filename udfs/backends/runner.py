"""The interface of a backend: a graph on one device, from input arrays to the last tensor."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Arrays = tuple[NDArray[Any], ...]


class Runner(Protocol):
    """A graph on one device."""

    def run(self, arrays: Arrays) -> NDArray[np.float32]:
        """Return the graph's last tensor, ``[rows, ...]`` float32, on the host."""
        ...

"""Collection of py4j objects that keep plans alive in the JVM."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def sweeping() -> Iterator[Callable[[], object]]:
    """Yield a function that frees unreachable objects created inside the block; call it regularly.

    Each data frame leaves about a hundred py4j objects in reference cycles, and each of them keeps a plan
    alive in the JVM. Python's collector runs less often the more objects there are, and a driver has a
    million: the present ones are frozen.
    """
    gc.freeze()
    try:
        yield gc.collect
    finally:
        gc.unfreeze()

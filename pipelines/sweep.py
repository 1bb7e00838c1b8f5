"""Objects of the JVM's that Python keeps without needing them, let go of."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def sweeping() -> Iterator[Callable[[], object]]:
    """Gives what frees all that came since and is no longer needed; call it now and then.

    Each frame that Spark was asked for leaves a hundred of py4j's objects that refer to each other in a
    circle, and each of those keeps a plan alive in the JVM. Python would look for them itself, but the
    less often the more it holds, and a driver holds a million objects: what is there now is set aside.
    """
    gc.freeze()
    try:
        yield gc.collect
    finally:
        gc.unfreeze()

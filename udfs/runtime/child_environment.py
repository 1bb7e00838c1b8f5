"""What a process that this one starts has to find: the same packages, in the same places."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def environment(threads: int | None = None) -> dict[str, str]:
    """This process's environment, and what it imports from: Spark's workers have archives there.

    ``threads`` is how many the libraries that read OMP_NUM_THREADS may start; None: as here.
    """
    found = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path if entry)
    limit = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    return {**os.environ, "PYTHONPATH": found, **limit}

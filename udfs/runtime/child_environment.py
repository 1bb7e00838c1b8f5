"""The environment of child processes: the same packages in the same places."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def environment(threads: int | None = None) -> dict[str, str]:
    """Return this process's environment, with its import path: Spark's workers have archives there.

    ``threads`` limits libraries that read OMP_NUM_THREADS; None: no change.
    """
    found = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path if entry)
    limit = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    return {**os.environ, "PYTHONPATH": found, **limit}

"""Spark's forking server, with what every worker needs imported before it forks.

Spark starts this module in place of its own (``spark.python.daemon.module``). What is imported here is
imported once, and its pages are shared by all workers. ``MILLRACE_PRELOAD`` names more modules, between
commas: torch takes seconds, so it is here only for jobs that compute with it.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Iterable

PRELOAD = "MILLRACE_PRELOAD"
# Not OpenVINO: it starts threads when it is imported, and a fork does not take them along.
COMMON = ("numpy", "pyarrow", "pandas", "psutil", "pydantic", "udfs.engine", "udfs.models.base")


def preload(modules: Iterable[str]) -> None:
    """Import the modules, then take what is there out of the garbage collector's way.

    A collection writes to every object that it looks at, and a page that is written to is shared no
    longer. Raises ImportError, saying which module and where it was looked for.
    """
    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ImportError(
                f"Spark's workers need {name}, and it cannot be imported: {error}\n"
                f"  got:     {sys.executable} with path {sys.path}\n"
                f"  next:    install it there, or take it out of {PRELOAD}"
            ) from error
    gc.collect()
    gc.freeze()


def wanted() -> list[str]:
    """The modules of every worker, and those that this server was told."""
    return [*COMMON, *filter(None, os.environ.get(PRELOAD, "").split(","))]


if __name__ == "__main__":
    from pyspark.daemon import manager

    preload(wanted())
    manager()

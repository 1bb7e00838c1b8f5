"""Spark's forking server, which imports what every worker needs before it forks.

Spark starts this module in place of its own (``spark.python.daemon.module``). Its imports happen once,
and all workers share their pages. ``MILLRACE_PRELOAD`` lists further modules, separated by commas: torch
takes seconds, so only jobs that compute with it import it here.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Iterable

PRELOAD = "MILLRACE_PRELOAD"
# Not OpenVINO: it starts threads when it is imported, and a fork does not take them along.
COMMON = (
    "numpy",
    "pyarrow",
    "pandas",
    "psutil",
    "pydantic",
    "millrace.udfs.engine.scoring",
    "millrace.udfs.models.model_loading",
)


def preload(modules: Iterable[str]) -> None:
    """Import the modules, and exclude their objects from garbage collection.

    A collection writes to every object that it visits, and a page that is written to is no longer shared.
    Raises ImportError with the module and the search path.
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
    """Return the modules of every worker, and those that `PRELOAD` names."""
    return [*COMMON, *filter(None, os.environ.get(PRELOAD, "").split(","))]


if __name__ == "__main__":
    from pyspark.daemon import manager

    preload(wanted())
    manager()

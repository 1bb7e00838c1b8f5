"""When a worker began, had its model, and gave its first and last prediction: a small file for each process.

Standard library alone: the workers of every contestant import it, whatever their environment.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDER = "marks"


def loaded(folder: Path, load: Callable[[], Callable[..., Any]], since: float | None = None) -> Any:
    """``load()``, which gives a function of a batch; each call leaves its end in the process's mark.

    ``since``, in seconds since 1970, is when the worker's start began, if before this call. Spark and
    Ray end workers without a last word, so the mark is written anew each time: tens of microseconds.
    """
    began = time.time()
    predict = load()
    mark = {"since": since or began, "began": began, "ready": time.time()}
    path = folder / f"{os.getpid()}-{time.time_ns()}.json"

    def marked(*cells: Any) -> Any:
        outputs = predict(*cells)
        mark["last"] = time.time()
        mark.setdefault("first", mark["last"])
        part = path.with_suffix(".part")
        part.write_text(json.dumps(mark), "utf-8")
        part.replace(path)
        return outputs

    return marked


def read(folder: Path) -> list[dict[str, float]]:
    """All marks in ``folder``."""
    return [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))]


def summary(folder: Path, started: float, slots: int, stage_s: float) -> dict[str, float]:
    """What the marks say of a stage that began at ``started`` and took ``stage_s``.

    ``steady_s`` is from the first model that was ready to the last batch computed, of all workers;
    ``setup_s`` sums what workers took until their model was there, and ``stage_steady_s`` is the stage
    without it, shared by the slots. ``first_prediction_at`` is in seconds since 1970.
    """
    found = read(folder)
    setup_s = sum(one["ready"] - max(one["since"], started) for one in found)
    return {
        "stage_s": stage_s,
        "steady_s": max(one["last"] for one in found) - min(one["ready"] for one in found),
        "stage_steady_s": stage_s - setup_s / slots,
        "setup_s": setup_s,
        "load_s": sum(one["ready"] - one["began"] for one in found),
        "workers": len(found),
        "first_prediction_at": min(one["first"] for one in found),
    }

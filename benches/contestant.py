"""What every contestant is told on its command line, and what it tells when it is done."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benches.marks import FOLDER
from benches.workloads import WORKLOADS, Workload

PREDICTIONS = "predictions"


@dataclass(frozen=True)
class Told:
    """One contestant's task."""

    task: Workload
    input: Path
    model: Path
    output: Path  # a folder of its own, absent so far
    report: Path
    slots: int  # processes that compute at the same time
    variant: str  # which of its ways, for a contestant that has several
    apart: bool = False  # each file is a partition of its own, however small

    @property
    def marks(self) -> Path:
        """The folder for workers' marks, made if need be."""
        folder = self.output / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def predictions(self) -> Path:
        """Where the predictions go."""
        return self.output / PREDICTIONS


def told(about: str | None, arguments: Sequence[str] | None = None) -> Told:
    """The command line as a `Told`."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--task", type=WORKLOADS.__getitem__, required=True)
    for name in ("input", "model", "output", "report"):
        parser.add_argument(f"--{name}", type=lambda text: Path(text).absolute(), required=True)
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument("--variant", default="")
    parser.add_argument("--apart", action="store_true")
    return Told(**vars(parser.parse_args(arguments)))


def tell(report: Path, **figures: Any) -> None:
    """Leave the figures for `benches.compare`."""
    report.write_text(json.dumps(figures, indent=2), "utf-8")

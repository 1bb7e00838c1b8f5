"""What every contestant is told on its command line, and what it tells when it is done."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benches.predictors import BATCH_ROWS


@dataclass(frozen=True)
class Told:
    """One contestant's task."""

    workload: str
    input: Path
    model: Path
    output: Path  # a folder of its own, absent so far
    report: Path
    slots: int  # processes that compute at the same time
    batch: int


def told(about: str, arguments: Sequence[str] | None = None) -> Told:
    """The command line as a `Told`."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--workload", required=True)
    for name in ("input", "model", "output", "report"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument("--batch", type=int, default=BATCH_ROWS)
    return Told(**vars(parser.parse_args(arguments)))


def tell(report: Path, **figures: Any) -> None:
    """Leave the figures for `benches.compare`."""
    report.write_text(json.dumps(figures, indent=2), "utf-8")

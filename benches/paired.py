"""Two ways to compute the same rows, which take turns at being first: ratios of CPU times, and their page.

What `benches.guard` and `benches.metering` share: the arguments, the network, and the file of the result.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from benches.inputs import MODELS
from benches.machine import cpu_model, machine, slug, versions


def asked(
    arguments: Sequence[str] | None, about: str | None, rows: int, rounds: int
) -> argparse.Namespace:
    """The arguments: ``rows``, ``rounds``, ``cache`` (of models) and ``out``."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=rows)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--cache", type=Path, default=Path("build/bench"))
    parser.add_argument("--out", type=Path, default=Path("benches/results"))
    return parser.parse_args(arguments)


def digits(cache: Path) -> Path:
    """The folder of the convolutional network, made if it is not there."""
    folder = cache / "models" / "digits"
    MODELS["digits"](folder)
    return folder


def write(
    given: argparse.Namespace,
    names: tuple[str, str],
    ratios: Sequence[float],
    most: float,
    more: Mapping[str, Any],
    digits: int,
) -> None:
    """Write ``<bench>-<cpu>.json``: median and quartiles of the ratios, and say where it is.

    ``names``: of the bench, and of what is compared with the bare pass.
    """
    bench, what = names
    low, _, high = quantiles(ratios, n=4)
    found = {
        "median": round(median(ratios), digits),
        "quartiles": [round(low, digits), round(high, digits)],
    }
    told = {"rows": given.rows, "rounds": given.rounds, **more, f"{what}_to_bare": found,
            "most": most, "versions": versions(), "machine": machine()}  # fmt: skip
    path = given.out / f"{bench}-{slug(cpu_model())}-{os.cpu_count()}cores.json"
    path.write_text(json.dumps(told, indent=2) + "\n", "utf-8")
    print(f"{what} / bare: {found}; written to {path.name}")

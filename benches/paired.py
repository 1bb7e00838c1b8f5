"""Two ways to compute the same rows, which take turns at being first: ratios of CPU times, and their page.

What `benches.guard` and `benches.metering` share: the arguments, the network, and the file of the result.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import pyarrow as pa

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


def compared(
    slices: Sequence[pa.RecordBatch],
    rounds: int,
    bare: Callable[[pa.RecordBatch], float],
    other: Callable[[pa.RecordBatch], float],
    what: str,
) -> list[float]:
    """Of each slice in each round, the CPU seconds of the other way by those of the bare one.

    The two take turns at being first. A slice takes half a second, so that both see the same machine.
    """
    found = []
    for turn in range(rounds):
        spent = dict.fromkeys((bare, other), 0.0)
        for place, rows in enumerate(slices):
            order = (other, bare) if (turn + place) % 2 else (bare, other)
            now = {way: way(rows) for way in order}
            found.append(now[other] / now[bare])
            spent = {way: spent[way] + now[way] for way in spent}
        print(f"{turn + 1}: {spent[bare]:.3f} s bare, {spent[other]:.3f} s {what}; "
              f"median ratio so far {median(found):.4f}", flush=True)  # fmt: skip
    return found


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
    told = {"rows": given.rows, "rounds": given.rounds, "pairs": len(ratios), **more,
            f"{what}_to_bare": found, "most": most, "versions": versions(), "machine": machine()}  # fmt: skip
    path = given.out / f"{bench}-{slug(cpu_model())}-{os.cpu_count()}cores.json"
    path.write_text(json.dumps(told, indent=2) + "\n", "utf-8")
    print(f"{what} / bare: {found}; written to {path.name}")

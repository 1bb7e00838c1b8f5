"""What `benches.generation` and `benches.host` stored: targets and tables for the page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benches.targets import Target

ONE_BY_ONE_TIMES = 3.0
_CLIENTS = ("bare loop", "1 clients", "2 clients", "4 clients", "8 clients")


def results(folder: Path, prefix: str) -> list[dict[str, Any]]:
    """The stored results of one kind, generation or host, by file name."""
    paths = sorted(folder.glob(f"{prefix}-*.json"))
    return [json.loads(path.read_text("utf-8")) for path in paths]


def targets(
    generation: Sequence[Mapping[str, Any]], host: Sequence[Mapping[str, Any]]
) -> list[Target]:
    """Rate and texts of each generation job, and what four clients of a host get."""
    found = []
    for one in generation:
        ours = one["medians"]["millrace"]
        found += [
            Target(
                "generation: rate ÷ `generate` one by one",
                ours["times_one_by_one"],
                least=ONE_BY_ONE_TIMES,
                note=one["what"],
            ),
            Target("generation: texts that differ from it", ours["texts_that_differ"], most=0),
        ]
    found += [
        Target(
            f"host on the CPU, {one['workload']}: rate with 4 clients ÷ with one",
            one["four_clients_of_one"],
            least=one["least"],
        )
        for one in host
    ]
    return found


def tables(
    generation: Sequence[Mapping[str, Any]], host: Sequence[Mapping[str, Any]]
) -> list[tuple[str, tuple[str, ...], list[list[str]]]]:
    """A title, a header and rows for each kind that was measured."""
    found: list[tuple[str, tuple[str, ...], list[list[str]]]] = []
    for one in generation:
        rows = [
            [
                name.replace("_", " "),
                f"{figures['wall_s']:.1f}",
                f"{figures['rows_per_s']:.2f}",
                f"{figures['times_one_by_one']:.2f}",
                str(figures["texts_that_differ"]),
            ]
            for name, figures in one["medians"].items()
        ]
        header = ("", "seconds", "prompts/s", "÷ one by one", "texts that differ")
        found.append((f"Generation: {one['what']}", header, rows))
    if host:
        rows = [
            [one["workload"], *(f"{one['rows_per_s'][name]:,.0f}" for name in _CLIENTS)]
            for one in host
        ]
        found.append(("Host on the CPU, rows a second", ("", *_CLIENTS), rows))
    return found

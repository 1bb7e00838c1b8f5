"""Millrace alone: more rows, fewer workers, more partitions.

N, 2N and 4N rows are the same rows once, twice and four times, under new keys: four times the rows
are exactly four times the work. Every file is a partition of its own. In pieces, as with
`benches.compare`:

  python -m benches.scaling --workload docs --rounds 3
  python -m benches.scaling --workload docs --rounds 3 --resume --again workers_1
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benches import page, stored
from benches.compare import RESULTS
from benches.contest import CACHE, alone, contest
from benches.contestants import CONTESTANTS
from benches.figures import Figures
from benches.inputs import Layout, make
from benches.process import Failed
from benches.workloads import WORKLOADS


@dataclass(frozen=True)
class Setting:
    """One way to run the same job."""

    copies: int = 1
    files: int = 8
    slots: int = os.cpu_count() or 1


SETTINGS = {
    "rows_1x": Setting(),  # N rows, all workers: also what one worker is compared with
    "rows_2x": Setting(copies=2),
    "rows_4x": Setting(copies=4),  # also what 200 partitions are compared with
    "workers_1": Setting(slots=1),
    "partitions_200": Setting(copies=4, files=200),
}
# Pinned: of few rows `auto` would compute otherwise than of many, and its measuring takes memory too.
WAY = CONTESTANTS["millrace_torch_bf16"]
QUARTER = 4  # N is a quarter of the workload's rows


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; an exit code."""
    given = _parser().parse_args(arguments)
    names = ["docs", "digits"] if given.workload == "all" else [given.workload]
    try:
        with alone():
            found = [_told(name, given) for name in names]
    except (stored.Other, Failed) as error:
        print(error, file=sys.stderr)
        return 2
    return 1 if any(one["failures"] for one in found) else 0


def _told(name: str, given: argparse.Namespace) -> Figures:
    """A workload's result; each run is stored when it ends."""
    folder = given.out or (CACHE / "results" if given.rows else RESULTS)
    rows = (given.rows or WORKLOADS[name].rows) // QUARTER
    about = (
        f"{rows:,} rows and multiples of them; each file is a partition; the second worker's "
        "memory is that of two workers less that of one"
    )
    result = stored.empty("scaling", name, about, rows)
    result = stored.resumed(result, folder, given.again) if given.resume else result
    for _ in measured(name, rows, given, result):
        stored.store(result, folder)
    page.write(folder)
    return result


def measured(name: str, rows: int, given: argparse.Namespace, result: Figures) -> Iterator[Figures]:
    """Each setting once a round, those rounds that ``result`` lacks; yields it after each."""
    for number in range(1, given.rounds + 1):
        for setting, one in SETTINGS.items():
            runs = result["runs"].setdefault(setting, [])
            if len(runs) >= number or (given.settings and setting not in given.settings):
                continue
            print(f"round {number} of {given.rounds}: {setting} {name} ... ", end="", flush=True)
            made = make(WORKLOADS[name], rows, CACHE, Layout(one.files, one.copies))
            try:
                figures, _ = contest(WAY, made, slots=one.slots, apart=True)
            except (Failed, OSError, KeyError, ValueError) as error:
                result["failures"][setting] = f"{type(error).__name__}: {error}"
                print(f"FAILED: {error}", flush=True)
            else:
                runs.append(figures | {"rows": made.rows, "files": one.files})
                print(f"{figures['wall_s']:.0f} s, {figures['steady_s']:.1f} s steady", flush=True)
            yield result


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benches.scaling",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workload", choices=["docs", "digits", "all"], default="all")
    parser.add_argument("--settings", type=_names, metavar="A,B", help=", ".join(SETTINGS))
    parser.add_argument("--rows", type=int, help="what 4N is: a quick try")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--resume", action="store_true", help="add the rounds that are missing")
    parser.add_argument("--again", type=_names, default=[], metavar="A,B")
    parser.add_argument("--out", type=Path, help=f"folder for the results; {RESULTS}")
    return parser


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in SETTINGS]:
        raise argparse.ArgumentTypeError(
            f"unknown: {', '.join(unknown)}; there are {', '.join(SETTINGS)}"
        )
    return names


if __name__ == "__main__":
    raise SystemExit(main())

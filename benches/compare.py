"""Every contestant on the same files, in turn, each as a process of its own from start to commit.

What they answer is compared on all rows with the plain loop. Each round is stored when a contestant
has ended, so that the whole can be run in pieces:

  python -m benches.compare --workload docs --rounds 3
  python -m benches.compare --workload docs --rounds 3 --resume          what is missing of it
  python -m benches.compare --workload docs --rounds 3 --resume --again millrace_auto,millrace_fp32
  python -m benches.compare --workload digits --contestants plain_torch,daft --rows 20000 --rounds 1
  python -m benches.compare --page                                       the page from what is stored
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benches import contestants, outcome, page, stored
from benches.contest import CACHE, alone, contest
from benches.contestants import CONTESTANTS, PLAIN, Contestant
from benches.figures import Figures
from benches.inputs import Made, make
from benches.outcome import Answers
from benches.process import Failed
from benches.workloads import WORKLOADS

RESULTS = Path("benches/results")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; an exit code."""
    given = _parser().parse_args(arguments)
    folder = given.out or (CACHE / "results" if given.rows else RESULTS)
    names = list(WORKLOADS) if given.workload == "all" else [given.workload]
    try:
        if not given.page:
            with alone():
                for name in names:
                    _told(name, given, folder)
    except (stored.Other, Failed) as error:
        print(error, file=sys.stderr)
        return 2
    page.write(folder)
    print(f"\n{folder / page.NAME}")
    found = [one for one in stored.results(folder) if one["workload"] in names]
    return 1 if any(one["failures"] for one in found) else 0


def _told(name: str, given: argparse.Namespace, folder: Path) -> None:
    """Run what is asked for of a workload; each contestant's round is stored when it ends."""
    made = make(WORKLOADS[name], given.rows, CACHE)
    result = stored.empty("contest", name, made.workload.about, made.rows)
    if given.resume:
        result = stored.resumed(result, folder, given.again)
    asked = [
        one
        for one in contestants.of(name)
        if not given.contestants or one.name in given.contestants
    ]
    if not _reference(made).is_file() or not given.resume:
        # What the others are compared with is there before they run.
        asked = [CONTESTANTS[PLAIN], *(one for one in asked if one.name != PLAIN)]
    for _ in compared(made, asked, given.rounds, result):
        stored.store(result, folder)


def compared(
    made: Made, asked: Sequence[Contestant], rounds: int, result: Figures
) -> Iterator[Figures]:
    """Each contestant once a round, those rounds that ``result`` lacks; yields it after each."""
    for number in range(1, rounds + 1):
        for one in asked:
            runs = result["runs"].setdefault(one.name, [])
            if len(runs) >= number:
                continue
            print(f"round {number} of {rounds}: {one.name} {made.workload.name} ... ", end="")
            sys.stdout.flush()
            try:
                figures, answers = contest(one, made)
            except (Failed, OSError, KeyError, ValueError) as error:
                result["failures"][one.name] = f"{type(error).__name__}: {error}"
                print(f"FAILED: {error}", flush=True)
            else:
                result["failures"].pop(one.name, None)
                runs.append(figures | {"answers": _compared(one, made, answers)})
                print(_line(runs[-1]), flush=True)
            yield result


def _compared(one: Contestant, made: Made, answers: Answers) -> Figures:
    """How far the answers are from the plain loop's; the plain loop's own are kept for that."""
    reference = _reference(made)
    if one.name == PLAIN:
        answers.save(reference)
    plain = Answers.load(reference)
    return {
        "checksum": answers.checksum,
        "promise": one.promise,
        **outcome.difference(answers, plain, one.promise),
    }


def _reference(made: Made) -> Path:
    return CACHE / "answers" / f"{made.input.name}.npz"


def _line(figures: Figures) -> str:
    right = "right" if figures["answers"]["equal"] else "WRONG"
    return (
        f"{figures['wall_s']:.0f} s, {figures['steady_rows_per_s']:,.0f} rows/s steady, "
        f"{figures['peak_pss_bytes'] / 1e6:,.0f} MB, answers {right}"
    )


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in CONTESTANTS]:
        raise argparse.ArgumentTypeError(
            f"unknown: {', '.join(unknown)}; there are {', '.join(CONTESTANTS)}"
        )
    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benches.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workload", choices=[*WORKLOADS, "all"], default="all")
    parser.add_argument(
        "--contestants", type=_names, metavar="A,B", help=f"of {', '.join(CONTESTANTS)}"
    )
    parser.add_argument("--rows", type=int, help="at most so many of each workload: a quick try")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--resume", action="store_true", help="add the rounds that are missing")
    parser.add_argument(
        "--again", type=_names, default=[], metavar="A,B",
        help="with --resume: whose stored rounds are dropped and run anew",
    )  # fmt: skip
    parser.add_argument("--page", action="store_true", help="run nothing")
    parser.add_argument(
        "--out",
        type=Path,
        help=f"folder for the results; {RESULTS}, with --rows {CACHE / 'results'}",
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())

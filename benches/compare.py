"""``python -m benches.compare``: a plain torch loop, `predict_batch_udf` and Millrace on the same files.

The contestants take turns, each as a process of its own. What they answer must be equal.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benches import figures, outcome, table
from benches.figures import MILLRACE, PLAIN, PREDICT_BATCH, Figures
from benches.machine import machine, slug, versions
from benches.outcome import Answers
from benches.predictors import BATCH_ROWS
from benches.process import Failed, measured
from benches.workloads import WORKLOADS, Made, Workload, make

CACHE = Path("build/bench")
RESULTS = Path("benches/results")
MODULES = {
    PLAIN: "benches.plain_torch",
    PREDICT_BATCH: "benches.predict_batch",
    MILLRACE: "benches.millrace_job",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; an exit code."""
    given = _parser().parse_args(arguments)
    results = given.out or (CACHE / "results" if given.rows else RESULTS)
    names = list(WORKLOADS) if given.workload == "all" else [given.workload]
    try:
        found = [_told(WORKLOADS[name], given.rows, given.rounds, results) for name in names]
    except Failed as error:
        print(error, file=sys.stderr)
        return 1
    for one in found:
        store(one, results)
    text = table.page(stored(results))
    (results / "README.md").write_text(text, "utf-8")
    print(f"\n{text}")
    return 0 if all(one["answers_equal"] for one in found) else 1


def _told(workload: Workload, rows: int | None, rounds: int, results: Path) -> Figures:
    """The last of a workload's results; each is stored when its round is over."""
    result: Figures = {}
    for result in compared(make(workload, rows, CACHE), rounds):
        store(result, results)
    return result


def compared(made: Made, rounds: int) -> Iterator[Figures]:
    """Every contestant once a round; after each round the result so far. Raises Failed."""
    workload, done = made.workload, []
    for number in range(1, rounds + 1):
        one: dict[str, Figures] = {}
        plain: Answers | None = None
        for name in MODULES:
            print(f"round {number} of {rounds}: {name} {workload.name} ... ", end="", flush=True)
            one[name], answers = contest(name, made)
            plain = plain or answers
            one[name]["answers"] = {
                "checksum": answers.checksum,
                **outcome.difference(answers, plain),
            }
            print(f"{one[name]['wall_s']:.0f} s, {one[name]['rows_per_s']:,.0f} rows/s", flush=True)
        done.append(one)
        yield figures.result(
            workload=workload.name,
            about=workload.about,
            rows=made.rows,
            rounds=done,
            rounds_run=len(done),
            batch_rows={
                PLAIN: BATCH_ROWS,
                PREDICT_BATCH: BATCH_ROWS,
                MILLRACE: "as the job file says",
            },
            machine=machine(),
            versions=versions(),
        )


def contest(name: str, made: Made) -> tuple[Figures, Answers]:
    """One contestant, once, from nothing; its figures and its predictions."""
    output, report = CACHE / "out" / name, CACHE / "out" / f"{name}.json"
    shutil.rmtree(output, ignore_errors=True)
    report.unlink(missing_ok=True)
    slots = os.cpu_count() or 1
    told = {
        "workload": made.workload.name,
        "input": made.input,
        "model": made.model,
        "output": output,
        "report": report,
        "slots": slots,
    }
    flags = [text for key, value in told.items() for text in (f"--{key}", str(value))]
    report.parent.mkdir(parents=True, exist_ok=True)
    load_before = os.getloadavg()[0]
    used = measured(MODULES[name], flags, CACHE / "logs" / f"{name}.log")
    own = json.loads(report.read_text("utf-8"))
    own |= _extras(name, made, own, slots)
    all_figures = {**asdict(used), **own, "load_average_before": load_before}
    where = output / _table(name, made)
    return figures.with_speeds(_rounded(all_figures), made.rows), outcome.answers(
        where, made.workload
    )


def store(result: Figures, folder: Path) -> Path:
    """Write the result under the workload's and the machine's name; it replaces the last one."""
    cpu, cores = slug(result["machine"]["cpu"]), result["machine"]["cores"]
    path = folder / f"{result['workload']}-{cpu}-{cores}cores.json"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    return path


def stored(folder: Path) -> list[Figures]:
    """All comparisons in a folder, by file name; other people's JSON is left alone."""
    read = [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*cores.json"))]
    return [one for one in read if "medians" in one]


def _table(name: str, made: Made) -> str:
    return f"predictions_{made.workload.name}" if name == MILLRACE else "predictions"


def _extras(name: str, made: Made, own: Figures, slots: int) -> Figures:
    """What a contestant that runs on Spark left in its logs and tables."""
    output = CACHE / "out" / name
    if name == PREDICT_BATCH:
        return {"executor_s": outcome.executor_s(output / "logs")}
    if name == MILLRACE:
        laps = outcome.laps(output / _table(name, made))
        setup_s = laps["startup_s"] + laps["load_s"]
        return {
            "steady_s": own["stage_s"] - setup_s / slots,
            "setup_s": setup_s,
            "load_s": laps["load_s"],
            "executor_s": outcome.executor_s(output / "_logs"),
            "laps": laps,
        }
    return {}


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {k: round(v, 3) if isinstance(v, float) else v for k, v in values.items()}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benches.compare", description=__doc__)
    parser.add_argument("--workload", choices=[*WORKLOADS, "all"], default="all")
    parser.add_argument("--rows", type=int, help="at most so many of each workload: a quick try")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--out",
        type=Path,
        help=f"folder for the results; {RESULTS}, with --rows {CACHE / 'results'}",
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())

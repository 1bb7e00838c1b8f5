"""Forecasts against what then happened: jobs x sizes x slots, each run in a process of its own.

For each workload and number of slots there is one lake: the first forecast knows no past run, those
after it do. ``python -m benches.forecast`` writes ``benches/results/forecast-<cpu>.json``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benches.inputs import make
from benches.machine import machine, slug, versions
from benches.millrace_job import VARIANTS
from benches.process import ROOT
from benches.workloads import WORKLOADS
from millrace.pipelines.console.progress import Progress
from millrace.pipelines.inference.time_model import LEVEL
from millrace.pipelines.planning.forecast import foresee
from millrace.pipelines.planning.forecast_table import as_json
from millrace.pipelines.run import runner
from millrace.pipelines.spark.job_session import session_for
from millrace.schemas.config import Job
from millrace.schemas.yaml_file import load

SIZES = {"digits": (50_000, 200_000), "docs": (512, 2048), "payments": (200_000, 1_000_000)}
SLOTS = (1, 2)
RESULTS = ROOT / "benches" / "results"
LIMIT_S = 900.0


@dataclass(frozen=True)
class Case:
    """One forecast and one run."""

    workload: str
    rows: int
    slots: int
    again: bool = False  # the size has been run before

    @property
    def name(self) -> str:
        return f"{self.workload} {self.rows} local[{self.slots}]{' again' * self.again}"


def cases() -> list[Case]:
    """Small, large, and the small one again, with what the others taught."""
    return [
        case
        for workload, (small, large) in SIZES.items()
        for slots in SLOTS
        for case in (
            Case(workload, small, slots),
            Case(workload, large, slots),
            Case(workload, small, slots, again=True),
        )
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all cases and store them after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=ROOT / "build" / "bench")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--only", default="", help="names of cases that hold this text")
    parser.add_argument("--child", nargs=2, metavar=("STEP", "JOB"), help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.child:
        _child(asked.child[0], json.loads(asked.child[1]))
        return
    shutil.rmtree(asked.cache / "forecast", ignore_errors=True)
    found = []
    for case in cases():
        if asked.only in case.name:
            found.append(_measured(case, asked.cache))
            print(_line(found[-1]), flush=True)
            store(found, asked.out)


def _measured(case: Case, cache: Path) -> dict[str, Any]:
    """The forecast of a case, then its truth."""
    made = make(WORKLOADS[case.workload], case.rows, cache)
    changes = {
        "source.path": str(made.input),
        "model.uri": str(made.model),
        "output.path": str(cache / "forecast" / f"{case.workload}-{case.slots}"),
        "contract.expectations": "[]",
        "engine.batch": "auto",
        **VARIANTS["auto"],
    }
    job = {"file": made.workload.job, "changes": changes, "slots": case.slots, "fresh": case.again}
    foreseen, run = _in_process("plan", job), _in_process("run", job)
    return {
        "case": case.name,
        "rows": case.rows,
        "slots": case.slots,
        "past_runs": foreseen["past_runs"],
        "pilot_rows": foreseen["pilot_rows"],
        "plan_s": foreseen["took_s"],
        "foreseen_s": foreseen["here"]["seconds"],
        "truth_s": run["took_s"],
        "wall_s": run["wall_s"],
        "units": run["units_total"],
        "tasks_waiting": [foreseen["waiting"], run["waiting"]],
        "trials": foreseen["trials"],
    }


def _in_process(step: str, job: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, "-m", "benches.forecast", "--child", step, json.dumps(job)]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=ROOT, timeout=LIMIT_S
    )
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def _child(step: str, told: dict[str, Any]) -> None:
    """Forecast or run, and say so, with the seconds since this process began."""
    job = load(ROOT / told["file"], Job, overrides=[f"{k}={v}" for k, v in told["changes"].items()])
    quiet, waiting = Progress(quiet=True), psutil.getloadavg()[0]  # 1 min
    with session_for(job, master=f"local[{told['slots']},4]") as spark:
        if step == "plan":
            found = as_json(foresee(spark, job, quiet, _age_s()))
        else:
            found = runner.run(spark, job, quiet, fresh=told["fresh"]).as_json()
        took_s = _age_s()
    about = {"took_s": round(took_s, 3), "waiting": waiting}
    print(json.dumps(found | about, default=str))


def _age_s() -> float:
    return time.time() - psutil.Process().create_time()


def summary(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Median error and coverage, of all and with and without past runs."""

    def of(some: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
        if not some:
            return None
        errors = [abs(one["foreseen_s"]["mid"] / one["truth_s"] - 1) for one in some]
        return {
            "forecasts": len(some),
            "median_error": round(statistics.median(errors), 4),
            "largest_error": round(max(errors), 4),
            "covered": round(sum(map(_is_inside, some)) / len(some), 4),
            "mean_width": round(statistics.mean(map(_width, some)), 4),
        }

    return {
        "level": LEVEL,
        "all": of(found),
        "without_past_runs": of([one for one in found if not one["past_runs"]]),
        "with_past_runs": of([one for one in found if one["past_runs"]]),
    }


def _is_inside(one: dict[str, Any]) -> bool:
    return bool(one["foreseen_s"]["low"] <= one["truth_s"] <= one["foreseen_s"]["high"])


def _width(one: dict[str, Any]) -> float:
    """Of the interval, as a share of the forecast."""
    told = one["foreseen_s"]
    return float((told["high"] - told["low"]) / told["mid"])


def _line(one: dict[str, Any]) -> str:
    told = one["foreseen_s"]
    inside = "inside" if _is_inside(one) else "OUTSIDE"
    return (
        f"{one['case']:32} {told['mid']:7.1f} s ({told['low']:.1f} to {told['high']:.1f}), truth"
        f" {one['truth_s']:7.1f} s, {told['mid'] / one['truth_s'] - 1:+.1%}, {inside},"
        f" {one['past_runs']} past runs, plan {one['plan_s']:.0f} s"
    )


def store(found: Sequence[dict[str, Any]], folder: Path) -> Path:
    """Write what there is, in one step."""
    about = machine()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"forecast-{slug(about['cpu'])}.json"
    result = {
        "kind": "forecast",
        "machine": about,
        "versions": versions(),
        "summary": summary(found),
        "forecasts": list(found),
    }
    part = path.with_suffix(".part")
    part.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    return part.replace(path)


if __name__ == "__main__":
    main()

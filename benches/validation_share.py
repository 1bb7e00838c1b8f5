"""What validation adds to the job over texts: processes of `millrace run` with its contract, and without.

  python -m benches.validation_share --rounds 3

Without: no rules, no expectations, no column that must be there or be unique; rows are counted, and a key
that two rows share is refused all the same. Both compute in fp32, so that no measuring decides between
them. Each way has a lake of its own; its first run is left out, those after it take turns.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from benches.compare import RESULTS
from benches.contest import CACHE, alone
from benches.inputs import Made, make
from benches.millrace_job import EXPECTED
from benches.process import ROOT, Failed, measured
from benches.stored import noted
from benches.workloads import WORKLOADS

MOST = 0.05  # of the run's wall time
_WITHOUT = {
    "contract.expectations": "[]",
    "contract.rules": "[]",
    "contract.columns": "{paragraph_id: {type: bigint}, source: {type: string}, text: {type: string}}",
}
WAYS = {"with": {"contract.expectations": EXPECTED}, "without": _WITHOUT}


def process_s(made: Made, way: str, lake: Path) -> float:
    """Seconds from the start of one run's process to its end."""
    changes = {
        "source.path": str(made.input), "model.uri": str(made.model), "output.path": str(lake),
        "engine.batch": "auto", "engine.backend": "torch", "engine.precision": "fp32", **WAYS[way],
    }  # fmt: skip
    settings = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    command = [sys.executable, "-m", "millrace.pipelines.cli", "run", str(ROOT / made.workload.job)]
    log = lake.with_suffix(".log")
    took = measured([*command, *settings, "--fresh", "--json"], log).wall_s
    told = json.loads(log.read_text("utf-8").splitlines()[-1])
    if told["scored"] + told["quarantined"] != made.rows or told["failed"]:
        raise Failed(f"a run did not score {made.rows} rows: {told}")
    return round(took, 2)


def measure(made: Made, rounds: int, lakes: Path) -> dict[str, list[float]]:
    """Seconds of each way, round by round, after a first run of each."""
    shutil.rmtree(lakes, ignore_errors=True)
    took: dict[str, list[float]] = {way: [] for way in WAYS}
    for round_ in range(rounds + 1):
        for way in list(WAYS)[:: 1 if round_ % 2 else -1]:
            seconds = process_s(made, way, lakes / way)
            if round_:
                took[way].append(seconds)
            print(round_, way, seconds, flush=True)
    return took


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, store."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, help="at most so many: a quick try")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args(arguments)
    with alone():
        made = make(WORKLOADS["docs"], asked.rows, CACHE)
        took = measure(made, asked.rounds, CACHE / "validation-share")
    median = {way: statistics.median(seconds) for way, seconds in took.items()}
    share = round(1 - median["without"] / median["with"], 4)
    print(json.dumps({"share": share, "most": MOST}))
    found = {"rows": made.rows, "seconds": took, "share": share, "most": MOST}
    noted("validation-share", found, asked.out)


if __name__ == "__main__":
    main()

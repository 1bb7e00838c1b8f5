"""``python -m tests.chaos.race --rounds 200``: two drivers, one job, the same moment, again and again.

Two processes with a Spark session each meet at a barrier and run the same new job. One must run it, the
other must be refused (exit 6) or find it done, and nothing may be committed twice. ``--without lease`` proves that the
race is one: both drivers then work.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from multiprocessing.synchronize import Barrier
from pathlib import Path

from millrace.pipelines.console.progress import Progress
from millrace.pipelines.job import work_units
from millrace.pipelines.lake.run_lock import LeaseTimes
from millrace.pipelines.lake.runs import DONE_ALREADY
from millrace.pipelines.run.runner import run
from millrace.pipelines.spark.job_session import session_for
from millrace.schemas.config import Job
from millrace.schemas.errors import MillraceError
from tests.chaos.driven import violations
from tests.chaos.driver import GUARDS
from tests.helpers import image_table, images, job_of, pixel_mlp, write_parquet

ROWS, FILES = 8, 2
LATE_S = (0.0, 0.0, 0.1, 0.5)  # by which one driver comes after the other, in turn


def job_in(folder: Path, model: Path) -> Job:
    """A new job over an input of its own."""
    write_parquet(folder / "input", image_table(images(ROWS)), files=FILES)
    engine = {"backend": "torch", "precision": "fp32", "batch": 8}
    return job_of(folder, model, engine=engine)


def drive(
    number: int, jobs: Sequence[Job], barrier: Barrier, without: str | None, told: Path
) -> None:
    """Run each job when the other driver does; a line each of what came of it."""
    if without:
        GUARDS[without]()
    work_units._UNKNOWN_SPEED_BYTES = 1  # each file is a unit
    lease = LeaseTimes(expires_s=20.0, beat_s=0.1, is_on=without != "lease")
    with session_for(jobs[0], master="local[1,2]") as spark, told.open("w") as lines:
        for at, job in enumerate(jobs):
            barrier.wait()
            if at % 2 == number:
                time.sleep(LATE_S[at // 2 % len(LATE_S)])
            try:
                summary = run(spark, job, Progress(quiet=True), lease=lease)
                end = "done-already" if DONE_ALREADY in summary.warnings else "scored"
            except MillraceError as error:
                end = f"exit-{error.exit_code}"
            except Exception as error:  # noqa: BLE001 - told as what nobody expects
                end = "bug"
                print(f"round {at}: {type(error).__name__}: {str(error)[:300]}", flush=True)
            lines.write(f"{end}\n")
            lines.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Race; 1 where a round ended otherwise than it must."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--without", choices=GUARDS, help="take a guard away")
    parser.add_argument("--out", type=Path, help="a JSON file for what was found")
    given = parser.parse_args(arguments)
    spawn, started = mp.get_context("spawn"), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="millrace-race-") as scratch:
        root = Path(scratch)
        model = pixel_mlp(root / "model")
        jobs = [job_in(root / str(at), model) for at in range(given.rounds)]
        barrier = spawn.Barrier(2)
        drivers = [
            spawn.Process(target=drive, args=(n, jobs, barrier, given.without, root / f"told-{n}"))
            for n in range(2)
        ]
        for driver in drivers:
            driver.start()
        for driver in drivers:
            driver.join()
        codes = [(root / f"told-{n}").read_text().split() for n in range(2)]
        ends = Counter("+".join(sorted(pair)) for pair in zip(*codes, strict=True))
        found = {}
        for at, job in enumerate(jobs):
            if broken := violations(job, model, images(ROWS), set(), set()):
                found[at] = broken
    told = {"rounds": given.rounds, "ends": dict(ends), "violations": found,
            "without": given.without, "seconds": round(time.monotonic() - started)}  # fmt: skip
    print(json.dumps(told, indent=2))
    if given.out:
        given.out.write_text(json.dumps(told, indent=2) + "\n", "utf-8")
    return 1 if found or set(ends) - {"exit-6+scored", "done-already+scored"} else 0


if __name__ == "__main__":
    sys.exit(main())

"""``python -m tests.chaos.memory --units 1000``: what a driver holds after 10 units, and after all of them.

One run of so many units over a model that does next to nothing. After units 10, 20, 50, 100 ... the JVM
collects its garbage; then its heap and the resident memory of the driver's Python are noted.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
from pyspark.sql import SparkSession

from millrace.pipelines.console.progress import Progress
from millrace.pipelines.job import work_units
from millrace.pipelines.run.runner import run
from millrace.pipelines.spark.job_session import session_for
from tests.helpers import image_table, images, job_of, pixel_mlp, write_parquet

_MB = 1 << 20
_LOOKS = 5


def looked_at(number: int) -> bool:
    """Whether memory is noted after so many units: 10, 20, 50, 100, 200, 500 ..."""
    return number >= 10 and str(number).rstrip("0") in {"1", "2", "5"}


def held(spark: SparkSession) -> dict[str, float]:
    """The JVM's live heap and this process's resident memory, MiB."""
    jvm: Any = spark.sparkContext._jvm
    runtime, heaps = jvm.Runtime.getRuntime(), []
    for _ in range(_LOOKS):
        jvm.System.gc()
        heaps.append((runtime.totalMemory() - runtime.freeMemory()) / _MB)
        time.sleep(0.2)  # what finalisers free is garbage for the next
    heap = min(heaps)  # the other unit's tasks allocate while this looks
    resident = psutil.Process().memory_info().rss / _MB
    return {"jvm_heap_mb": round(heap, 1), "python_mb": round(resident, 1)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, and print what was held when; 1 where it grew by more than a tenth."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--units", type=int, default=1000)
    parser.add_argument("--conf", action="append", default=[], metavar="K=V", help="Spark's")
    parser.add_argument("--out", type=Path, help="a JSON file for what was found")
    parser.add_argument("--keep", type=Path, help="an absent folder: the run's tables stay there")
    given = parser.parse_args(arguments)
    noted: dict[int, dict[str, float]] = {}
    real, started = work_units.finished, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="millrace-memory-") as scratch:
        root = given.keep or Path(scratch) / "run"
        root.mkdir()
        write_parquet(root / "input", image_table(images(2 * given.units)), files=given.units)
        engine = {"backend": "torch", "precision": "fp32", "batch": 8}
        job = job_of(root, pixel_mlp(root / "model"), engine=engine, run={"unit_minutes": 1e-9})
        done = 0
        settings = dict(pair.split("=", 1) for pair in given.conf)
        with session_for(job, settings, master="local[2,4]") as spark:

            def finished(*arguments: Any, **more: Any) -> None:
                nonlocal done
                real(*arguments, **more)
                done += 1
                if looked_at(done):
                    noted[done] = held(spark)
                    print(
                        f"{done} units, {time.monotonic() - started:.0f} s: {noted[done]}",
                        flush=True,
                    )

            with (
                mock.patch.object(work_units, "finished", finished),
                mock.patch.object(work_units, "_UNKNOWN_SPEED_BYTES", 1),
            ):
                summary = run(spark, job, Progress(quiet=True))
    first, last = noted[min(noted)], noted[max(noted)]
    grown = {name: round(last[name] / first[name], 3) for name in first}
    told = {"units": summary.units_done, "scored": summary.scored, "wall_s": summary.wall_s,
            "after_units": noted, "last_to_first": grown, "settings": settings}  # fmt: skip
    print(json.dumps(told, indent=2))
    if given.out:
        given.out.write_text(json.dumps(told, indent=2) + "\n", "utf-8")
    return int(any(ratio > 1.1 for ratio in grown.values()))


if __name__ == "__main__":
    sys.exit(main())

"""``python -m tests.chaos.driver JOB.yaml [--without GUARD] [--barrier FILE]``: a run that tests may kill.

``millrace run --json`` with a shorter lease, and, to prove that tests bite, with a guard taken away:

  lease          nobody is excluded
  transactions   each commit has a name of its own: nothing tells that a unit is there already
  isolation      a worker that died leaves no word of where it was
  bisection      a batch that fails is not halved: all of its rows have failed
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from millrace.pipelines.console import output
from millrace.pipelines.console.progress import Progress
from millrace.pipelines.console.signals import stop_at_signals, stopped
from millrace.pipelines.inference import worker_timeouts
from millrace.pipelines.job import work_units
from millrace.pipelines.lake.delta_history import Commits
from millrace.pipelines.lake.run_lock import LeaseTimes
from millrace.pipelines.run import unit_scoring
from millrace.pipelines.run.runner import run
from millrace.pipelines.spark import cluster
from millrace.pipelines.spark.job_session import session_for
from millrace.schemas.config import Job
from millrace.schemas.errors import MillraceError
from millrace.schemas.yaml_file import load
from millrace.udfs.engine.fault_script import VARIABLE
from millrace.udfs.runtime.plan import Scorer

MARK = "MILLRACE_CHAOS"  # an environment variable that all processes of a run have
LEASE_S = 4.0
UNGUARDED = {"bisection": "tests.chaos.unguarded"}  # where workers start without it


def _no_lease() -> None:
    pass  # the lease is an argument


def _no_transactions() -> None:
    def name(_self: Commits, transaction: str) -> str:
        return f"{transaction}:{secrets.token_hex(4)}"

    Commits.name = name  # type: ignore[method-assign]


def _no_isolation() -> None:
    whole = unit_scoring.scorer

    def scorer(*arguments: Any) -> Scorer:
        made = whole(*arguments)
        return replace(made, plan=replace(made.plan, journal=None))

    unit_scoring.scorer = scorer


GUARDS: dict[str, Callable[[], None]] = {
    "lease": _no_lease,
    "transactions": _no_transactions,
    "isolation": _no_isolation,
    "bisection": lambda: None,  # it is the workers'
}


def _settings(given: argparse.Namespace) -> dict[str, str]:
    """Spark's: what was asked for, and in a cluster's executors the environment of this process."""
    inherited = {
        f"spark.executorEnv.{name}": os.environ[name]
        for name in (MARK, VARIABLE)
        if name in os.environ
    }
    workers = (
        {"spark.python.daemon.module": UNGUARDED[given.without]}
        if given.without in UNGUARDED
        else {}
    )
    return inherited | workers | dict(pair.split("=", 1) for pair in given.conf)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; an exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("job", type=Path)
    parser.add_argument("--without", choices=GUARDS, default=None)
    parser.add_argument("--master", default="local[2,4]")
    parser.add_argument("--conf", action="append", default=[], metavar="K=V", help="Spark's")
    parser.add_argument("--barrier", type=Path, help="start when this file is there")
    parser.add_argument("--ready", type=Path, help="make this file when a run could start")
    parser.add_argument("--unit-bytes", type=int, default=1, help="1: each file is a unit")
    parser.add_argument("--idle-s", type=float, help="of the embedded engine: less than it waits")
    given = parser.parse_args(arguments)
    if given.idle_s:
        cluster.IDLE_S, worker_timeouts.IMPORTS_S = given.idle_s, 0.0
    if given.without:
        GUARDS[given.without]()
    stop_at_signals()
    work_units._UNKNOWN_SPEED_BYTES = given.unit_bytes
    lease = LeaseTimes(expires_s=LEASE_S, beat_s=LEASE_S / 10, is_on=given.without != "lease")
    try:
        job = load(given.job, Job)
        is_embedded = job.run.place == "embedded"
        settings = {} if is_embedded else _settings(given)
        master = None if is_embedded else given.master
        with session_for(job, settings, master=master) as spark:
            if given.ready:
                given.ready.touch()
            while given.barrier and not given.barrier.exists():
                time.sleep(0.005)
            summary = run(spark, job, Progress(), lease=lease)
    except MillraceError as error:
        return output.print_error(error, as_json=True)
    except KeyboardInterrupt as error:
        return output.print_error(stopped(error), as_json=True)
    output.print_summary(summary, as_json=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

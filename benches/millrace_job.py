"""Contestant: Millrace, the whole job as its file says: validation, quarantine, ledger, report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from benches.contestant import Told, tell, told
from millrace.pipelines.spark.job_session import session_for
from millrace.schemas.config import Job
from millrace.schemas.yaml_file import load

# The demonstrations expect a few thousand rows; that rule stays on, with wider bounds.
EXPECTED = "[{expect: ExpectTableRowCountToBeBetween, min_value: 1, max_value: 100000000}]"
VARIANTS: dict[str, dict[str, str]] = {
    "auto": {"engine.backend": "auto", "engine.precision": "auto"},
    "embedded": {
        "engine.backend": "auto",
        "engine.precision": "auto",
        "run.place": "embedded",
    },
    "torch_bf16": {"engine.backend": "torch", "engine.precision": "bf16"},
    "fp32": {"engine.backend": "torch", "engine.precision": "fp32"},
}
# A file opened costs as much as the largest partition may hold: Spark puts no two together.
_APART = {"spark.sql.files.maxPartitionBytes": "64m", "spark.sql.files.openCostInBytes": "64m"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the job; the report has its summary's figures."""
    task = told(__doc__, arguments)
    job = job_of(task)
    began = time.time()
    is_embedded = job.run.place == "embedded"  # it has no such settings, and a slot a core
    apart = _APART if task.apart and not is_embedded else {}
    master = None if is_embedded else f"local[{task.slots},4]"
    with session_for(job, apart, master=master, importing=["millrace.pipelines.score"]) as spark:
        from millrace.pipelines.console.progress import (
            Progress,  # as `millrace run` does: while Spark starts
        )
        from millrace.pipelines.run.runner import run

        session_s = time.time() - began
        summary = run(spark, job, Progress())
        run_s = time.time() - began - session_s
    tell(
        task.report,
        session_s=session_s,
        run_s=run_s,
        stage_s=summary.infer_s,
        ledger_coverage=summary.ledger_coverage,
        books_closed=summary.books_closed,
        quarantined=summary.quarantined,
        failed=summary.failed,
        warnings=list(summary.warnings),
    )


def job_of(task: Told) -> Job:
    """The job file as it is shipped, with this input, model and output; batches are Millrace's choice."""
    changes = {
        "source.path": task.input,
        "model.uri": task.model,
        "output.path": task.output,
        "contract.expectations": EXPECTED,
        "engine.batch": "auto",
        **VARIANTS[task.variant],
    }
    return load(Path(task.task.job), Job, overrides=[f"{k}={v}" for k, v in changes.items()])


if __name__ == "__main__":
    main()

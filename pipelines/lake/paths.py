"""Paths of a lake's folders that are not tables: logs, and pages about its runs."""

from __future__ import annotations

import re
from pathlib import Path

from millrace.schemas.config import Job
from millrace.schemas.errors import UsageError


def logs(lake: Path) -> Path:
    """Where the runs of a lake leave Spark's log and event logs."""
    return lake / "_logs"


def spark_log(job: Job) -> str:
    """Return the path of the log that has a failure's full stack traces."""
    return str(logs(Path(job.output.path)) / "spark.log")


def report_page(lake: Path, run_id: str) -> Path:
    """Where a run's report is, or will be. Raises UsageError for an id that is no file name."""
    if not re.fullmatch(r"[\w-][\w.-]*", run_id):
        raise UsageError(
            "a run id cannot name a file", got=run_id, allowed="letters, digits, _ - ."
        )
    return lake / "_reports" / f"{run_id}.html"


def validation_page(lake: Path, run_id: str) -> Path:
    """Where the page about a run's rules is, or will be."""
    return report_page(lake, f"{run_id}-validation")

"""All pages of a run. A page that cannot be written is reported and stops nothing: the tables have it all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from millrace.pipelines.console.error_text import without_values
from millrace.pipelines.console.progress import Progress
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.reporting import lake_page, run_page, validation_page
from millrace.pipelines.validation import data_docs
from millrace.schemas.errors import MillraceError


def write_report(lake: LakeLocation, run_id: str, progress: Progress) -> Path | None:
    """Write the run's report and the page about all runs; return the report's path."""
    later = f"; later: millrace report {run_id} --lake {lake}"
    path = _written("report", lambda: run_page.write(lake, run_id), progress, later)
    _written("page about all runs", lambda: lake_page.write(lake), progress)
    return path


def write_rule_pages(lake: LakeLocation, run_id: str, progress: Progress) -> Path | None:
    """Write Data Docs and the page about the run's rules; return the latter's path."""
    _written("Data Docs", lambda: data_docs.write(lake, run_id), progress)
    return _written("page about the rules", lambda: validation_page.write(lake, run_id), progress)


def _written(
    what: str, write: Callable[[], Path | None], progress: Progress, later: str = ""
) -> Path | None:
    try:
        return write()
    except (MillraceError, OSError) as error:
        logged = f"no {what}: {without_values(error)}{later}"
        progress.say(f"  no {what}: {error}{later}", logged=logged)
        return None

"""What spark-submit starts: one job file, run as ``millrace run`` does."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from millrace.pipelines.api.jobs import run
from millrace.pipelines.api.progress_events import TerminalProgress
from millrace.pipelines.console import output, structured_log
from millrace.pipelines.console.signals import stop_at_signals, stopped
from millrace.pipelines.spark.job_session import process_began
from millrace.schemas.errors import MillraceError
from millrace.schemas.job_file import load_job


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one job file, as ``millrace run`` does; the exit code. This is what spark-submit starts."""
    parser = argparse.ArgumentParser(prog="pipelines/score.py", description=main.__doc__)
    parser.add_argument("job_file", type=Path)
    parser.add_argument(
        "--set", action="append", default=[], metavar="A.B=C", help="override a key of the job file"
    )
    parser.add_argument("--fresh", action="store_true", help="score all of it again, as a new run")
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    parser.add_argument("--log", choices=structured_log.FORMS, help="the form of progress messages")
    options = parser.parse_args(arguments)
    structured_log.enable(options.log)
    stop_at_signals()
    try:
        job = load_job(options.job_file, options.set)
        progress = TerminalProgress(quiet=options.json)
        summary = run(job, fresh=options.fresh, on_progress=progress, held_since=process_began())
    except MillraceError as error:
        return output.print_error(error, as_json=options.json)
    except KeyboardInterrupt as error:
        return output.print_error(stopped(error), as_json=options.json)
    output.print_summary(summary, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""``millrace replay``: score the quarantined rows of a run that can be scored now."""

from __future__ import annotations

from pathlib import Path

import click

from millrace.pipelines.commands.options import (
    EXIT_CODES,
    dry_run_option,
    job_argument,
    json_option,
    log_option,
    set_option,
)
from millrace.pipelines.lake.location import LakeLocation


@click.command(epilog=EXIT_CODES)
@click.argument("run_id", metavar="RUN")
@job_argument
@set_option
@click.option(
    "--repaired",
    metavar="SOURCE",
    help="Where the repaired rows are: a path, or FORMAT:PATH. Default: the run's own input.",
)
@click.option("--failed", is_flag=True, help="Also replay rows that the model failed to score.")
@dry_run_option
@json_option
@log_option
def replay(
    run_id: str,
    job_file: Path,
    overrides: tuple[str, ...],
    repaired: str | None,
    failed: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Score the quarantined rows of RUN that were repaired, or that a corrected contract accepts.

    A replay is a run of its own: it reads only those rows into the model, and charges only them. The key
    identifies a row; rows that are scored already are left out. Rows that still break the contract are
    quarantined again. The view replayed has the old reasons, the new run and the outcome.

    \b
    Examples:
      millrace replay digits-1a2b3c4d job.yaml
      millrace replay digits-1a2b3c4d job.yaml --dry-run
      millrace replay digits-1a2b3c4d job.yaml --repaired parquet:repaired/
      millrace sql "SELECT outcome, count(*) AS n FROM replayed GROUP BY outcome"
    """
    from millrace.pipelines.api import jobs
    from millrace.pipelines.api.lake import Lake
    from millrace.pipelines.api.progress_events import TerminalProgress
    from millrace.pipelines.console.signals import stop_at_signals
    from millrace.pipelines.spark.job_session import process_began

    stop_at_signals()
    job = jobs.load_job_file(job_file, overrides)
    replayed = Lake(LakeLocation.of(job)).find(run_id)
    progress = TerminalProgress(quiet=as_json)
    if dry_run:
        from millrace.pipelines.commands.printing.dry_run import print_dry_run

        found = jobs.dry_run_replay(
            replayed, job, repaired=repaired, failed=failed, on_progress=progress
        )
        print_dry_run(found, as_json=as_json)
        return
    summary = jobs.replay(
        replayed, job, repaired=repaired, failed=failed,
        on_progress=progress, held_since=process_began(),
    )  # fmt: skip
    from millrace.pipelines.console.output import print_summary

    print_summary(summary, as_json=as_json, more={"replays": replayed})

"""``millrace run``: run a job or resume it, or show what a run would do."""

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


@click.command(epilog=EXIT_CODES)
@job_argument
@set_option
@click.option("--fresh", is_flag=True, help="Score all of it again, as a new run.")
@dry_run_option
@json_option
@log_option
def run(
    job_file: Path, overrides: tuple[str, ...], fresh: bool, dry_run: bool, as_json: bool
) -> None:
    """Run a job, or resume it: an interrupted run continues after its last commit.

    \b
    Examples:
      millrace run job.yaml
      millrace run job.yaml --dry-run
      millrace run job.yaml --set source.path=input/2026-11-25
      millrace run job.yaml --set engine.batch=32 --json
    """
    from millrace.pipelines.api import jobs
    from millrace.pipelines.api.progress_events import TerminalProgress
    from millrace.pipelines.console.signals import stop_at_signals
    from millrace.pipelines.spark.job_session import process_began

    stop_at_signals()
    job = jobs.load_job_file(job_file, overrides)
    progress = TerminalProgress(quiet=as_json)
    if dry_run:
        from millrace.pipelines.commands.printing.dry_run import print_dry_run

        print_dry_run(jobs.dry_run(job, fresh=fresh, on_progress=progress), as_json=as_json)
        return
    summary = jobs.run(job, fresh=fresh, on_progress=progress, held_since=process_began())
    from millrace.pipelines.console.output import print_summary

    print_summary(summary, as_json=as_json)

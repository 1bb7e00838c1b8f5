"""``millrace baseline`` and ``millrace drift``: a run to compare with, and the drift of later runs."""

from __future__ import annotations

from pathlib import Path

import click

from millrace.pipelines.commands.options import json_option, lake_option


@click.group()
def baseline() -> None:
    """The run that a job's later runs are compared with.

    \b
    Examples:
      millrace baseline set payments-1a2b3c4d --lake lake
      millrace baseline show --lake lake
    """


@baseline.command("set")
@click.argument("run_id")
@lake_option
@json_option
def set_(run_id: str, lake: Path, as_json: bool) -> None:
    """Compare the job's later runs with this one. Its id may be cut short.

    The run must be done, and its job must have had a section monitor.

    \b
    Example:
      millrace baseline set payments-1a2b3c4d --lake lake
    """
    from millrace.pipelines.monitoring import drift_report

    drift_report.set_command(lake, run_id, as_json=as_json)


@baseline.command()
@lake_option
@json_option
def show(lake: Path, as_json: bool) -> None:
    """List what was set; of each job the last one applies.

    \b
    Example:
      millrace baseline show --lake lake
    """
    from millrace.pipelines.monitoring import drift_report

    drift_report.show_command(lake, as_json=as_json)


@click.command()
@click.argument("run_id")
@click.option(
    "--baseline", "against", metavar="RUN", help="Another run than the one it was compared with."
)
@click.option("--units", is_flag=True, help="Each unit's outputs too.")
@lake_option
@json_option
def drift(run_id: str, against: str | None, units: bool, lake: Path, as_json: bool) -> None:
    """Show how far a run's input and outputs are from the baseline's, by column.

    Without --baseline: as the run was compared, by its job's limits. With it, or where no baseline
    was set when it ran: compared now, by the limits that a job has by default.

    \b
    Examples:
      millrace drift payments-1a2b3c4d --lake lake
      millrace drift payments-1a2b3c4d --baseline payments-5e6f7081 --lake lake --json
    """
    from millrace.pipelines.monitoring import drift_report

    drift_report.drift_command(lake, run_id, against, units=units, as_json=as_json)

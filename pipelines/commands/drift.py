"""``millrace baseline`` and ``millrace drift``: a run to compare with, and the drift of later runs."""

from __future__ import annotations

from typing import Any

import click

from millrace.pipelines.commands.options import json_option, lake_option
from millrace.pipelines.lake.location import LakeLocation

_DECIMALS = 4


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
def set_(run_id: str, lake: LakeLocation, as_json: bool) -> None:
    """Compare the job's later runs with this one. Its id may be cut short.

    The run must be done, and its job must have had a section monitor.

    \b
    Example:
      millrace baseline set payments-1a2b3c4d --lake lake
    """
    from millrace.pipelines.api.lake import Lake
    from millrace.pipelines.console import output

    pin = Lake(lake).set_baseline(run_id)
    if as_json:
        output.print_json(pin)
    else:
        output.echo(f"later runs of {pin['job']} are compared with {pin['run_id']}")


@baseline.command()
@lake_option
@json_option
def show(lake: LakeLocation, as_json: bool) -> None:
    """List what was set; of each job the last one applies.

    \b
    Example:
      millrace baseline show --lake lake
    """
    from millrace.pipelines.api.lake import Lake
    from millrace.pipelines.console import output

    rows = Lake(lake).baselines()
    if as_json:
        output.print_json(rows)
    elif rows:
        output.print_rows(list(rows[0]), rows)
    else:
        output.echo("no baseline is set: millrace baseline set RUN")


@click.command()
@click.argument("run_id")
@click.option(
    "--baseline", "against", metavar="RUN", help="Another run than the one it was compared with."
)
@click.option("--units", is_flag=True, help="Each unit's outputs too.")
@lake_option
@json_option
def drift(run_id: str, against: str | None, units: bool, lake: LakeLocation, as_json: bool) -> None:
    """Show how far a run's input and outputs are from the baseline's, by column.

    Without --baseline: as the run was compared, by its job's limits. With it, or where no baseline
    was set when it ran: compared now, by the limits that a job has by default.

    \b
    Examples:
      millrace drift payments-1a2b3c4d --lake lake
      millrace drift payments-1a2b3c4d --baseline payments-5e6f7081 --lake lake --json
    """
    from millrace.pipelines.api.lake import Lake
    from millrace.pipelines.console import output
    from millrace.pipelines.monitoring.drift_report import SHOWN

    found = Lake(lake).drift(run_id, against, units=units)
    if as_json:
        output.print_json(found.as_json())
        return
    rows = [{name: _rounded(row[name]) for name in SHOWN} for row in found.measures]
    output.print_rows(list(SHOWN), rows)
    moved, all_ = len(found.drifted), len(found.measures)
    output.echo(f"{moved} of {all_} measures have drifted from run {found.baseline}")


def _rounded(value: Any) -> Any:
    return round(value, _DECIMALS) if isinstance(value, float) else value

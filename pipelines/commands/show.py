"""``millrace show``: one run, from the tables alone."""

from __future__ import annotations

import click

from millrace.pipelines.commands.options import json_option, lake_option
from millrace.pipelines.lake.location import LakeLocation


@click.command()
@click.argument("run_id", required=False)
@lake_option
@json_option
def show(run_id: str | None, lake: LakeLocation, as_json: bool) -> None:
    """Show one run: its events, its rules, and its cost by kind; without RUN_ID, the latest.

    \b
    Examples:
      millrace show --lake demo-out/digits/lake
      millrace show digits-1a2b3c4d-5e6f70 --lake demo-out/digits/lake
    """
    from millrace.pipelines.commands.printing import run_details

    run_details.print_run(lake, run_id, as_json=as_json)

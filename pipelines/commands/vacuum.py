"""``millrace vacuum``: list what a lake no longer needs, and remove it."""

from __future__ import annotations

import click

from millrace.pipelines.commands.options import json_option, lake_option
from millrace.pipelines.lake.location import LakeLocation


@click.command()
@lake_option
@click.option(
    "--older-than",
    default="7d",
    show_default=True,
    metavar="AGE",
    help="Days or hours, 7d or 36h: younger data files are kept. More than any run took.",
)
@click.option("--yes", is_flag=True, help="Remove it; else only what would go is printed.")
@json_option
def vacuum(lake: LakeLocation, older_than: str, yes: bool, as_json: bool) -> None:
    """Find what a lake no longer needs: leftovers of dead runs, and data files of old versions.

    Without --yes the command removes nothing. It never removes what a live run or a resume needs.

    \b
    Examples:
      millrace vacuum --lake demo-out/digits/lake
      millrace vacuum --lake demo-out/digits/lake --older-than 30d --yes
    """
    from millrace.pipelines.api.lake import Lake
    from millrace.pipelines.console import output
    from millrace.pipelines.console.durations import parse_duration

    found = Lake(lake).vacuum(parse_duration(older_than, "--older-than"), remove=yes)
    values = found.as_json()
    if as_json:
        output.print_json(values)
        return
    rows = values["found"]
    if rows:
        output.print_rows(list(rows[0]), rows)
    for path, why in found.failed.items():
        output.echo(f"left {path}: {why}")
    end = (
        "removed" if yes else "nothing was removed: --yes does it" if rows else "nothing to remove"
    )
    output.echo(f"files and folders: {len(rows):,}; bytes: {found.size_bytes:,}; {end}")

"""``millrace export`` and ``millrace ledger``: the ledger for others, and rebuilt from its sources."""

from __future__ import annotations

from pathlib import Path

import click

from millrace.pipelines.commands.options import json_option, lake_option
from millrace.pipelines.lake.location import LakeLocation


@click.command()
@click.option(
    "--focus",
    "out",
    required=True,
    metavar="OUT",
    type=click.Path(path_type=Path),
    help="The folder to write.",
)
@click.option("--run", "run_id", metavar="RUN", help="Only this run's rows.")
@lake_option
@json_option
def export(out: Path, run_id: str | None, lake: LakeLocation, as_json: bool) -> None:
    """Write the ledger in the terms of the FOCUS specification: CSV, Parquet and their metadata.

    The export leaves out rows without a price, and counts them. The folder may exist: files of the same
    name are replaced.

    \b
    Examples:
      millrace export --focus focus --lake demo-out/digits/lake
      millrace export --focus focus --run digits-1a2b3c4d --lake demo-out/digits/lake
    """
    from millrace.pipelines.api.lake import Lake
    from millrace.pipelines.console import output

    exported = Lake(lake).export_focus(out, run_id)
    values = exported.as_json()
    if as_json:
        output.print_json(values)
        return
    for path in exported.files:
        output.echo(str(path))
    costs = values["effective_cost"].items()
    total = ", ".join(f"{value} {name}" for name, value in costs) or "nothing"
    output.echo(f"{exported.rows:,} rows, {total} in all; FOCUS {values['focus_version']}, aligned")
    if exported.unpriced:
        output.echo(f"{exported.unpriced:,} rows without a price are left out")
    output.echo(f"absent: {', '.join(values['absent_columns'])}; metadata.json says why")


@click.group()
def ledger() -> None:
    """Repair the ledger.

    \b
    Example:
      millrace ledger rebuild digits-1a2b3c4d --lake demo-out/digits/lake
    """


@ledger.command()
@click.argument("run_id")
@click.option(
    "--logs",
    type=click.Path(path_type=Path),
    help="Folder of Spark's event logs, where they are not in the lake.",
)
@lake_option
@json_option
def rebuild(run_id: str, logs: Path | None, lake: LakeLocation, as_json: bool) -> None:
    """Rebuild a run's rows from its committed meters and Spark's event logs, and compare.

    The command writes rows that the ledger lacks, and never edits rows that it has. A row that differs
    from the rebuilt one ends the command with exit code 5.

    \b
    Example:
      millrace ledger rebuild digits-1a2b3c4d --lake demo-out/digits/lake
    """
    from millrace.pipelines.api.lake import Lake
    from millrace.pipelines.console import output

    rebuilt = Lake(lake).rebuild_ledger(run_id, logs)
    if as_json:
        output.print_json(rebuilt.as_json())
    else:
        output.echo(
            f"run {rebuilt.run_id}: {rebuilt.same:,} rows of the ledger are as they were made again, "
            f"{rebuilt.written:,} were missing and are written"
        )
    rebuilt.check()

"""``millrace reprice``, ``export`` and ``ledger``: what can be done with a bill besides reading it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipelines.options import json_option, lake_option
from schemas.focus import CATEGORIES


@click.command()
@click.argument("run_id")
@click.option(
    "--prices",
    required=True,
    type=click.Path(path_type=Path),
    help="The price book to price the run with.",
)
@click.option("--instance", metavar="SKU", help="Another machine than the run's.")
@click.option("--region", metavar="NAME", help="Another region than the run's.")
@click.option("--category", type=click.Choice(CATEGORIES), help="Another category than the run's.")
@click.option("--dry-run", is_flag=True, help="Say what it would come to, and write nothing.")
@lake_option
@json_option
def reprice(
    run_id: str, prices: Path, dry_run: bool, lake: Path, as_json: bool, **machine: Any
) -> None:
    """Price a run anew with another price book, or as if it had been on another machine.

    The ledger's rows are not edited: each is taken back by a RETRACTION and said again by a
    RESTATEMENT, so that sums are right at any time. The same book again writes nothing.

    \b
    Examples:
      millrace reprice digits-1a2b3c4d --prices conf/prices/example.yaml --lake demo-out/digits/lake
      millrace reprice digits-1a2b --prices conf/prices/gpu.yaml --instance g6.xlarge --category Dynamic
      millrace reprice digits-1a2b --prices conf/prices/gpu.yaml --instance g6.xlarge --dry-run
    """
    from pipelines import reprice as repricing

    asked = repricing.Asked(**machine)
    repricing.command(lake, run_id, prices, asked, dry_run=dry_run, as_json=as_json)


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
def export(out: Path, run_id: str | None, lake: Path, as_json: bool) -> None:
    """Write the ledger in the terms of the FOCUS specification: CSV, Parquet and their metadata.

    What has no price is left out, and counted. The folder may be there: files of the same name are
    replaced.

    \b
    Examples:
      millrace export --focus focus --lake demo-out/digits/lake
      millrace export --focus focus --run digits-1a2b3c4d --lake demo-out/digits/lake
    """
    from pipelines import export as exporting

    exporting.command(lake, out, run_id, as_json=as_json)


@click.group()
def ledger() -> None:
    """What the ledger is made of.

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
def rebuild(run_id: str, logs: Path | None, lake: Path, as_json: bool) -> None:
    """Make a run's rows again from its committed meters and Spark's event logs, and compare.

    Rows that the ledger lacks are written; rows that it has are never edited. A row that cannot be
    made again as it is ends the command with exit code 5.

    \b
    Example:
      millrace ledger rebuild digits-1a2b3c4d --lake demo-out/digits/lake
    """
    from pipelines import rebuild as rebuilding

    rebuilding.command(lake, run_id, logs, as_json=as_json)

"""``millrace reprice``: the bill of a run at other prices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from millrace.pipelines.commands.options import json_option, lake_option
from millrace.pipelines.lake.location import LakeLocation
from millrace.schemas.focus import CATEGORIES

if TYPE_CHECKING:
    from decimal import Decimal

    from millrace.pipelines.accounting.repricing import Repriced


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
@click.option("--dry-run", is_flag=True, help="Show the bill, and write nothing.")
@lake_option
@json_option
def reprice(
    run_id: str, prices: Path, dry_run: bool, lake: LakeLocation, as_json: bool, **machine: Any
) -> None:
    """Price a run anew with another price book, or as if it had been on another machine.

    The command never edits rows of the ledger: a RETRACTION takes each back, and a RESTATEMENT states it
    anew, so that sums are right at any time. The same book again writes nothing.

    \b
    Examples:
      millrace reprice digits-1a2b3c4d --prices conf/prices/example.yaml --lake demo-out/digits/lake
      millrace reprice digits-1a2b --prices conf/prices/gpu.yaml --instance g6.xlarge --category Dynamic
      millrace reprice digits-1a2b --prices conf/prices/gpu.yaml --instance g6.xlarge --dry-run
    """
    from millrace.pipelines.api.lake import Lake
    from millrace.pipelines.console import output

    repriced = Lake(lake).reprice(run_id, prices, dry_run=dry_run, **machine)
    if as_json:
        output.print_json(repriced.as_json())
    else:
        for line in _lines(repriced):
            output.echo(line)


def _lines(repriced: Repriced) -> Iterator[str]:
    what = "nothing was written: the run is at these prices already"
    if not repriced.is_written:
        what = "nothing is written: this is what the bill would come to"
    elif repriced.revision is not None:
        what = (
            f"revision {repriced.revision}: {repriced.retracted:,} rows taken back, "
            f"{repriced.restated:,} said again"
        )
    yield f"run {repriced.run_id}, price book {repriced.book_version}"
    yield what
    yield f"before      {_sum(repriced.before)}"
    yield f"after       {_sum(repriced.after)}"
    yield f"difference  {_sum(repriced.difference)}"
    if repriced.nearest:
        yield f"note        {repriced.nearest:,} rows: no price for their time, the nearest applied"
    if repriced.unpriceable:
        rows = f"{repriced.unpriceable:,} rows"
        yield f"note        {rows} keep what they say: no price book prices their meter"


def _sum(money: Mapping[str, Decimal]) -> str:
    from millrace.pipelines.console.formatting import exact

    return ", ".join(f"{exact(cost)} {name}" for name, cost in money.items()) or "not priced"

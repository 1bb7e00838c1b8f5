"""``millrace report``: write the HTML pages of a run, or of a lake."""

from __future__ import annotations

import click

from millrace.pipelines.commands.options import json_option, lake_option
from millrace.pipelines.lake.location import LakeLocation


@click.command()
@click.argument("run_id", required=False)
@lake_option
@click.option(
    "--show-examples",
    is_flag=True,
    help="With values and keys of quarantined rows, on the page about the rules.",
)
@json_option
def report(run_id: str | None, lake: LakeLocation, show_examples: bool, as_json: bool) -> None:
    """Write a run's report anew from the tables: HTML pages that need nothing else.

    One page is about the run, one about its rules, one about all runs of the lake; without RUN_ID, the
    command writes the last one only. Of quarantined rows the pages show counts, and the form of their
    values: types, lengths, kinds of characters.

    \b
    Examples:
      millrace report --lake demo-out/digits/lake
      millrace report digits-1a2b3c4d --lake demo-out/digits/lake
      millrace report digits-1a2b3c4d --lake demo-out/digits/lake --show-examples
    """
    if run_id is None:
        write_overview(lake, as_json=as_json)
    else:
        write_report(lake, run_id, show_examples=show_examples, as_json=as_json)


def write_report(
    lake: LakeLocation, run_id: str, *, as_json: bool, show_examples: bool = False
) -> None:
    """Write a run's pages anew and print their paths. Raises UsageError."""
    from millrace.pipelines.api.lake import Lake
    from millrace.pipelines.console import output

    pages = Lake(lake).report_pages(run_id, show_examples=show_examples)
    paths = {"report": pages.report, "validation": pages.validation, "index": pages.index}
    if as_json:
        named = {name: None if path is None else str(path) for name, path in paths.items()}
        output.print_json({"run_id": pages.run_id, **named})
    else:
        output.echo("\n".join(str(path) for path in paths.values() if path is not None))


def write_overview(lake: LakeLocation, *, as_json: bool) -> None:
    """Write the page about all runs of a lake anew and print its path. Raises UsageError."""
    from millrace.pipelines.api.lake import Lake
    from millrace.pipelines.console import output

    path = str(Lake(lake).overview())
    if as_json:
        output.print_json({"index": path})
    else:
        output.echo(path)

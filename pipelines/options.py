"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path

import click

json_option = click.option(
    "--json", "as_json", is_flag=True, help="One JSON object on the last line."
)
lake_option = click.option(
    "--lake",
    default="lake",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder of the tables.",
)
set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="A.B=C",
    help="Override a key of the job file; repeatable.",
)

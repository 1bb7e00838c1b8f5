"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path

import click

job_argument = click.argument("job_file", type=click.Path(path_type=Path))
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


def _ask(_context: click.Context, _option: click.Parameter, form: str | None) -> None:
    from pipelines import json_log

    json_log.ask(form)


log_option = click.option(
    "--log",
    type=click.Choice(["plain", "json"]),
    expose_value=False,
    callback=_ask,
    help="Progress on the error stream: lines, or JSON objects. Else as MILLRACE_LOG says.",
)

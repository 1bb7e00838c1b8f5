"""``millrace init``: a commented job file for a source and a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from millrace.pipelines.commands.options import (
    json_option,
    log_option,
    set_option,
    source_settings,
)
from millrace.schemas.errors import UsageError


@click.command()
@click.option(
    "--from", "source", required=True, metavar="SOURCE", help="A file, a folder or a Delta table."
)
@click.option(
    "--model", required=True, type=click.Path(path_type=Path), help="The folder of the model."
)
@click.option("--name", help="The job's name; default: after the source.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="The folder that gets job.yaml; default: the working directory.",
)
@click.option(
    "--key", multiple=True, metavar="COLUMN", help="A column that identifies a row; repeatable."
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="INPUT=COLUMN",
    help="The column that an input of the model reads, where the names differ; repeatable.",
)
@click.option("--trust", type=click.Choice(["code"]), help="code: the model may run its own code.")
@click.option(
    "--format", "form", metavar="FORMAT", help="Of the source, where its name does not say."
)
@set_option
@json_option
@log_option
def init(
    source: str, model: Path, out: Path, overrides: tuple[str, ...], as_json: bool, **options: Any
) -> None:
    """Write a commented job file for a source and a model.

    The command profiles the source and suggests a contract that all of its rows keep, as validate
    --suggest does. It checks the job as preflight does before it writes job.yaml, and never overwrites
    a file. --set takes settings of the source.

    \b
    Examples:
      millrace init --from payments.csv --model model
      millrace init --from photos/ --model model --name photos --out jobs/photos
      millrace init --from reviews.jsonl --model model --column text=review_body
      millrace init --from umsatz.csv --model model --set source.encoding=windows-1252
    """
    from millrace.pipelines.api import drafts
    from millrace.pipelines.api.progress_events import TerminalProgress
    from millrace.pipelines.console import output

    draft = drafts.init(
        source, model, out=out, name=options["name"], key=options["key"],
        columns=_columns(options["columns"]), trust=options["trust"] or "data",
        format=options["form"], settings=source_settings(overrides, "init"),
        on_progress=TerminalProgress(quiet=as_json),
    )  # fmt: skip
    if as_json:
        output.print_json(draft.as_json())
        return
    rows = f"{draft.sampled:,} of {draft.rows:,} rows"
    output.echo(f"{draft.path}: {draft.columns} columns and {draft.rules} rules, from {rows}")
    output.echo(
        "Read it: the contract says what the data is like, not what it should be like. Then:"
    )
    for command in ("preflight", "run"):
        output.echo(f"  millrace {command} {draft.path}")
    output.echo(f"  millrace runs --lake {draft.path.parent / 'lake'}")


def _columns(pairs: Sequence[str]) -> dict[str, str]:
    if wrong := [pair for pair in pairs if "=" not in pair]:
        raise UsageError(
            "--column wants INPUT=COLUMN", got=wrong[0], allowed="for example text=review_body"
        )
    return dict(pair.split("=", 1) for pair in pairs)

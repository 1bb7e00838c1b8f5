"""``millrace validate --suggest``: a session, a suggestion, a file."""

from __future__ import annotations

from pathlib import Path

from pipelines import console
from pipelines.command_session import passing_session
from pipelines.progress import Progress
from pipelines.suggest import SAMPLE_ROWS, suggest
from pipelines.suggested_file import as_json as values_of
from pipelines.suggested_file import as_yaml
from schemas.errors import UsageError


def command(
    source: str, form: str | None, sample_rows: int | None, out: Path | None, *, as_json: bool
) -> None:
    """Print the contract that a source keeps, or write it to ``out``. Raises UsageError."""
    if out is not None and out.exists():
        raise UsageError(
            "the file to write is there already", got=str(out), next="name another, or remove it"
        )
    progress = Progress.of_command(quiet=as_json or out is None)
    with passing_session("suggest") as spark:
        found = suggest(spark, source, form, sample_rows or SAMPLE_ROWS, progress)
    if out is not None:
        out.write_text(as_yaml(found), "utf-8")
    if as_json:
        console.print_json(values_of(found))
    elif out is None:
        console.echo(as_yaml(found).rstrip("\n"))
    else:
        rules = sum(len(column.rules) for column in found.columns)
        found_from = f"{found.sampled:,} of {found.rows:,} rows"
        console.echo(f"{out}: {len(found.columns)} columns and {rules} rules, from {found_from}")

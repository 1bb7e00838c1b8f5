"""What a command prints: a summary or an error, for people or, with ``--json``, for machines."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from typing import Any, TextIO

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines import json_log
from pipelines.json_text import json_text
from pipelines.words import drawn
from schemas.errors import MillraceError
from schemas.excerpt import shown
from schemas.summary import Summary

_PIPE_WIDTH = 10_000
_COMMANDS = re.compile(  # control characters but tab and newline, and those of bidirectional text
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)


def print_json(value: Any) -> None:
    """One object, or an array of them, as the last line of standard output."""
    sys.stdout.write(json_text(value) + "\n")


def print_error(error: MillraceError, *, as_json: bool) -> int:
    """Say what went wrong; the exit code for it."""
    if json_log.is_asked():
        told = error.unquoted().as_json()
        json_log.write("error", str(told.pop("error")), level="error", **told)
    if as_json:
        print_json(error.as_json())
    elif not json_log.is_asked():
        Console(stderr=True, highlight=False, soft_wrap=True).print(
            f"[bold red]error[/] {escape(seen(str(error)))}"
        )
    return error.exit_code


def stopped() -> MillraceError:
    """What a command says that Ctrl-C or SIGTERM ended."""
    return MillraceError("stopped at a safe point", next="run the same command again to resume")


def print_summary(
    summary: Summary, *, as_json: bool, more: Mapping[str, Any] | None = None
) -> None:
    """The totals of a run."""
    if as_json:
        print_json({**summary.as_json(), **(more or {})})
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"\n[bold]run {summary.run_id}[/] {summary.state}")
    console.print(
        f"  rows      {summary.rows_read:,} read = {summary.scored:,} scored"
        f" + {summary.quarantined:,} quarantined + {summary.failed:,} failed"
    )
    rate = f", {summary.rows_per_s:,} rows/s" if summary.rows_per_s else ""
    console.print(
        f"  time      {summary.wall_s:.1f} s, of it inference {summary.infer_s:.1f} s{rate}"
    )
    if summary.backend:
        console.print(f"  computed  with {summary.backend} in {summary.precision}")
    console.print(f"  cost      {_cost(summary)}")
    if summary.cost is not None:
        told = (summary.energy_wh, summary.energy_wh_low, summary.energy_wh_high, summary.carbon_g)
        console.print(f"  energy    {drawn(*told)}")
    if summary.saved_rows:
        console.print(f"  saved     {_saved(summary)}")
    console.print(f"  tables    {summary.lake}")
    console.print(f"  report    {summary.report or 'none'}")
    for warning in summary.warnings:
        console.print(f"  [yellow]note[/]      {escape(warning)}")


def print_rows(
    names: list[str], rows: list[dict[str, Any]], title: str = "", file: TextIO | None = None
) -> None:
    """Rows as a table on the terminal; values are data, never markup."""
    table = Table(title=title or None, title_justify="left", header_style="bold", box=SIMPLE_HEAD)
    for name in names:
        numeric = all(isinstance(row[name], int | float) or row[name] is None for row in rows)
        told = escape(seen(name))
        table.add_column(told, justify="right" if numeric and rows else "left", overflow="fold")
    for row in rows:
        table.add_row(*[_cell(row[name]) for name in names])
    console = Console(highlight=False, file=file)
    if not console.is_terminal:  # a pipe has no edge to fold at
        console.width = _PIPE_WIDTH
    console.print(table)


def echo(text: str) -> None:
    """A line on standard output."""
    click.echo(text)


def seen(text: str) -> str:
    """The text with what would command a terminal, or turn the direction of writing, as escapes."""
    return _COMMANDS.sub(lambda found: shown(found[0]), text)


def _cell(value: Any) -> str:
    if value is None:
        return "[dim]null[/dim]"
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    text = json.dumps(value, default=str) if isinstance(value, dict | list) else str(value)
    return escape(seen(text if len(text) <= 200 else text[:199] + "…"))  # noqa: PLR2004 - a screenful


def _saved(summary: Summary) -> str:
    """Rows that no model had to compute, and what that would have been."""
    told = [f"{summary.saved_rows:,} rows were not computed again"]
    told += [] if summary.saved_s is None else [f"{summary.saved_s:.1f} s of task time"]
    if summary.saved_cost is not None:
        told.append(f"{summary.saved_cost:.6f} {summary.currency}")
    return ", ".join(told)


def _cost(summary: Summary) -> str:
    if summary.cost is None:
        return "not priced: the job names no price book"
    books = {
        True: "the books close",
        False: "[red]the books do not close[/]",
        None: "books not checked",
    }
    covered = (
        ""
        if summary.ledger_coverage is None
        else f", {summary.ledger_coverage:.1%} of task time metered"
    )
    return f"{summary.cost:.6f} {summary.currency} ({books[summary.books_closed]}{covered})"

"""What a command prints: a summary or an error, for people or, with ``--json``, for machines."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TextIO

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from millrace.pipelines.console import structured_log
from millrace.pipelines.console.formatting import NONE, drawn, gates_text, input_lines
from millrace.pipelines.console.strict_json import json_text
from millrace.schemas import figures
from millrace.schemas.errors import MillraceError
from millrace.schemas.excerpt import shown
from millrace.schemas.summary import RunSummary

_PIPE_WIDTH = 10_000
_ELEMENTS = 6  # of an array that a terminal shows whole
_FIRST = 3  # of a longer one
_COMMANDS = re.compile(  # control characters but tab and newline, and those of bidirectional text
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)


def print_json(value: Any) -> None:
    """One object, or an array of them, as the last line of standard output."""
    sys.stdout.write(json_text(value) + "\n")


def print_error(error: MillraceError, *, as_json: bool) -> int:
    """Say what went wrong; the exit code for it."""
    if structured_log.is_enabled():
        facts = error.unquoted().as_json()
        structured_log.write("error", str(facts.pop("error")), level="error", **facts)
    if as_json:
        print_json(error.as_json())
    elif not structured_log.is_enabled():
        Console(stderr=True, highlight=False, soft_wrap=True).print(
            f"[bold red]error[/] {escape(escape_controls(str(error)))}"
        )
    return error.exit_code


def print_summary(
    summary: RunSummary, *, as_json: bool, more: Mapping[str, Any] | None = None
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
    for number, line in enumerate(input_lines(summary.input) if summary.input else ()):
        console.print(f"  {'' if number else 'input':<9} {escape(escape_controls(line))}")
    console.print(f"  time      {_time(summary)}")
    if summary.backend:
        console.print(f"  computed  with {summary.backend} in {summary.precision}")
    console.print(f"  cost      {_cost(summary)}")
    if summary.cost is not None:
        energy = (
            summary.energy_wh, summary.energy_wh_low, summary.energy_wh_high, summary.carbon_g,
        )  # fmt: skip
        console.print(f"  energy    {drawn(*energy)}")
    if summary.saved_rows:
        console.print(f"  saved     {_saved(summary)}")
    console.print(f"  tables    {_from_here(summary.lake)}")
    console.print(f"  report    {_from_here(summary.report) if summary.report else 'none'}")
    for warning in summary.warnings:
        console.print(f"  [yellow]note[/]      {escape(warning)}")


def _from_here(path: str) -> str:
    """The path, relative to the working directory where it lies below it."""
    place, here = Path(path), Path.cwd()
    return str(place.relative_to(here)) if place.is_relative_to(here) else path


def print_rows(
    names: list[str], rows: list[dict[str, Any]], title: str = "", file: TextIO | None = None
) -> None:
    """Rows as a table on the terminal; values are data, never markup."""
    table = Table(title=title or None, title_justify="left", header_style="bold", box=SIMPLE_HEAD)
    for name in names:
        numeric = all(isinstance(row[name], int | float) or row[name] is None for row in rows)
        header = escape(escape_controls(name))
        table.add_column(header, justify="right" if numeric and rows else "left", overflow="fold")
    console = Console(highlight=False, file=file)
    for row in rows:
        values = [row[name] for name in names]
        table.add_row(*[_cell(brief(one) if console.is_terminal else one) for one in values])
    if not console.is_terminal:  # a pipe has no edge to fold at
        console.width = _PIPE_WIDTH
    console.print(table)


def print_lines(names: list[str], rows: Sequence[Mapping[str, str]]) -> None:
    """Rows as a table of which no line is ever broken; texts are data, never markup."""
    table = Table(header_style="bold", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in names:
        numeric = all(row[name][:1].isdigit() or row[name] == NONE for row in rows)
        justify: Literal["right", "left"] = "right" if numeric and name != "when" else "left"
        table.add_column(escape(escape_controls(name)), justify=justify, no_wrap=True)
    for row in rows:
        table.add_row(*[escape(escape_controls(row[name])) for name in names])
    console = Console(highlight=False)
    console.width = _PIPE_WIDTH  # the caller chose columns that fit
    console.print(table)


def echo(text: str) -> None:
    """A line on standard output."""
    click.echo(text)


def escape_controls(text: str) -> str:
    """The text with what would command a terminal, or turn the direction of writing, as escapes."""
    return _COMMANDS.sub(lambda found: shown(found[0]), text)


def brief(value: Any) -> Any:
    """A value for a terminal: of a long array the first elements, of bytes how many they are."""
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, dict):
        return {name: brief(one) for name, one in value.items()}
    if not isinstance(value, list):
        return value
    if len(value) <= _ELEMENTS:
        return [brief(one) for one in value]
    first = [brief(one) for one in value[:_FIRST]]
    return [*first, f"… {len(value):,} in all"]


def _cell(value: Any) -> str:
    if value is None:
        return "[dim]null[/dim]"
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    text = json.dumps(value, default=str) if isinstance(value, dict | list) else str(value)
    return escape(escape_controls(text if len(text) <= 200 else text[:199] + "…"))  # noqa: PLR2004 - a screenful


def _time(summary: RunSummary) -> str:
    """Seconds of this command, and how many rows it scored in them."""
    whole = f"{summary.wall_s:.1f} s"
    if summary.done_before is not None:
        return f"{whole}, and nothing was scored: the run was done before, at {summary.done_before}"
    if summary.rows_per_s is None:
        return f"{whole}, of it inference {summary.infer_s:.1f} s"
    rows = f"{summary.scored_now:,} rows" if summary.scored_now < summary.scored else "all of them"
    rate = f"{summary.rows_per_s:,} rows/s"
    return f"{whole}, of it inference {summary.infer_s:.1f} s ({rows} at {rate})"


def _saved(summary: RunSummary) -> str:
    """Rows that no model had to compute, and what that would have been."""
    parts = [f"{summary.saved_rows:,} rows were not computed again"]
    parts += [] if summary.saved_s is None else [f"{summary.saved_s:.1f} s of task time"]
    if summary.saved_cost is not None:
        parts.append(f"{summary.saved_cost:.6f} {summary.currency}")
    return ", ".join(parts)


def _cost(summary: RunSummary) -> str:
    if summary.cost is None:
        unpriced = "not priced: the job names no price book"
        return f"{unpriced} ({gates_text(summary.gates)})" if summary.gates else unpriced
    state = figures.books(summary.state, summary.books_closed)
    books = f"the books {state}"
    if state == "not checked":
        books = gates_text(summary.gates) if summary.gates else "books not checked"
    if state == "do not close":
        books = f"[red]{books}[/]"
    if summary.ledger_coverage is not None:
        books += f", {summary.ledger_coverage:.1%} of task time explained"
    then = ", when it was done" if summary.done_before else ""
    return f"{summary.cost:.6f} {summary.currency}{then} ({books})"

"""A dry run for people and for machines: ``millrace run --dry-run`` and ``millrace replay --dry-run``."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from millrace.pipelines.console import output
from millrace.pipelines.console.formatting import count, duration, input_lines, money
from millrace.pipelines.planning.dry_run import NEW, REPLAYED, RESUMED, DryRun

_OUTCOMES = {
    REPLAYED: "would be scored",
    "scored": "left out: a later run has scored them",
    "no key": "left out: they have no key",
    "stranger": "of the repaired source, left out: the run did not refuse them",
}


def print_dry_run(found: DryRun, *, as_json: bool) -> None:
    """Print what a run would do."""
    if as_json:
        output.print_json(found.as_json())
        return
    output.echo(f"dry run of {found.job}: {_state(found)}")
    first, *ignored = input_lines(found.input)
    output.echo(f"  input     {output.escape_controls(found.input['root'])}: {first}")
    for line in ignored:
        output.echo(f"            {output.escape_controls(line)}")
    about = "" if found.rows_are_exact else "about "
    output.echo(f"  rows      {about}{count(found.rows)} (by {found.rows_source})")
    for one in found.replay:
        keys = f"{count(one.keys)} key{'s' * (one.keys != 1)}"
        output.echo(f"            {count(one.rows)} ({keys}) {_OUTCOMES[one.outcome]}")
    committed = f", {count(found.units_committed)} committed" if found.state == RESUMED else ""
    output.echo(f"  units     {count(found.units)}{committed}")
    output.echo(f"  model     {found.model}")
    output.echo(f"  forecast  {_forecast(found.forecast)}")
    output.echo(f"  tables    {found.lake}")
    for note in found.notes:
        output.echo(f"  note      {note}")
    output.echo("nothing was scored or written")


def _state(found: DryRun) -> str:
    what = f"a replay of {found.replayed_run}" if found.replayed_run else "a run"
    if found.state == NEW:
        return f"{what} would start"
    if found.state == RESUMED:
        return f"run {found.run_id} would resume"
    return f"run {found.run_id} is done"


def _forecast(forecast: dict[str, Any] | None) -> str:
    if forecast is None:
        return "none: no past run of this job and model"
    low, mid, high = (duration(forecast["seconds"][name]) for name in ("low", "mid", "high"))
    text = f"inference in {mid} ({low} to {high})"
    if forecast["cost"]:
        low, mid, high = (money(Decimal(forecast["cost"][name])) for name in ("low", "mid", "high"))
        text += f", {mid} {forecast['currency']} ({low} to {high})"
    return f"{text}, by {forecast['basis']}"

"""One run on the terminal, from the tables alone: events, broken rules, cost."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from millrace.pipelines.api.lake import Lake
from millrace.pipelines.api.run_record import cost_text, report_of, rule_of
from millrace.pipelines.console import output
from millrace.pipelines.console.formatting import drawn, duration, exact, gates_text, moment, money
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query.run_details import RunDetails, gates_of, read
from millrace.pipelines.query.run_lookup import find
from millrace.pipelines.reporting import run_page
from millrace.schemas import figures

_PASSED = {True: "yes", False: "NO", None: "not checked"}
NO_PRICES = "not priced: the job names no price book"
_DRAWN = ("energy_wh", "energy_wh_low", "energy_wh_high", "carbon_g")


def print_run(lake: LakeLocation, run_id: str | None, *, as_json: bool) -> None:
    """Print one run, or the latest.

    ``run_id`` may be cut short. Raises UsageError where it matches no run, or several.
    """
    if as_json:
        output.print_json(Lake(lake).run(run_id))
    else:
        _print(lake, read(lake, find(lake, run_id)))


def _print(lake: LakeLocation, facts: RunDetails) -> None:
    run = facts.run
    output.echo(f"run {run['run_id']} of job {run['job']}: {run['state']}")
    if run["detail"]:
        output.echo(output.escape_controls(run["detail"]))
    if run.get("replays"):
        output.echo(f"replays   quarantined rows of {run['replays']}")
    total, outcomes = run_page.rows_flow(facts)
    flow = " + ".join(f"{part.value:,} {part.label}" for part in outcomes)
    output.echo(f"rows      {'not counted' if total is None else f'{total:,} read = {flow}'}")
    if run["wall_s"] is not None:
        attempts = len(facts.began)
        last = f", the last of {attempts} attempts" if attempts > 1 else ""
        output.echo(f"time      {duration(run['wall_s'])}{last}")
    output.echo(f"cost      {_cost(run)}")
    energy = drawn(*(run[name] for name in _DRAWN)) if run.get("price") else NO_PRICES
    output.echo(f"energy    {energy}")
    if forecast := _forecast(run):
        output.echo(f"forecast  {forecast}")
    if facts.saved["rows"]:
        output.echo(f"saved     {_saved(facts.saved)}")
    output.echo(f"model     {run['model']}")
    output.echo(
        f"report    {report_of(lake, run['run_id']) or 'none: millrace report ' + run['run_id']}"
    )
    events = [
        {"event": e["event"], "state": e["state"], "at": moment(e["at"])} for e in facts.events
    ]
    output.print_rows(["event", "state", "at"], events, "What happened")
    broken = [rule_of(rule) for rule in facts.rules if not rule["passed"]]
    names = ["rule", "severity", "checked", "failed"]
    if broken:
        output.print_rows(names, broken, f"Broken rules ({len(broken)} of {len(facts.rules)})")
    if gates := gates_of(run):
        shown = [{**gate, "passed": _PASSED[gate["passed"]]} for gate in gates]
        output.print_rows(["passed", "name", "got", "allowed"], shown, "What must add up")
    if facts.kinds:
        kinds = [{**row, "cost": cost_text(row["cost"])} for row in facts.kinds]
        output.print_rows(["kind", "slot_s", "cost"], kinds, "Cost by kind")


def _cost(run: dict[str, Any]) -> str:
    if run["cost"] is None:
        unpriced = "not known" if run.get("price") else NO_PRICES
        return f"{unpriced} ({gates_text(gates)})" if (gates := gates_of(run)) else unpriced
    state = figures.books(run["state"], run["books_closed"])
    books = "books not checked" if state == "not checked" else f"the books {state}"
    return f"{exact(run['cost'])} {run['currency']} ({books})"


def _forecast(run: dict[str, Any]) -> str | None:
    """Return the forecast of the cost that the run made before it scored."""
    if not run["forecast"]:
        return None
    forecast = json.loads(run["forecast"])
    low, mid, high = (money(Decimal(forecast["cost"][name])) for name in ("low", "mid", "high"))
    return f"{mid} {run['currency']} ({low} to {high}, 80 % of the time), by {forecast['basis']}"


def _saved(saved: dict[str, Any]) -> str:
    seconds = "" if saved["slot_s"] is None else f", {duration(saved['slot_s'])} of task time"
    cost = "" if saved["cost"] is None else f", {exact(saved['cost'])} {saved['currency']}"
    return f"{saved['rows']:,} rows were not computed again{seconds}{cost}"

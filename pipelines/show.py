"""One run on the terminal, from the tables alone: what happened, what was broken, what it cost."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

from pipelines import console, index_page, report, validation_page
from pipelines.facts import Facts, gates_of, read
from pipelines.named import the_run
from pipelines.query import query
from pipelines.views import tables
from pipelines.words import drawn, duration, exact, moment, money
from schemas.tables import RUNS, VALIDATIONS

TOTALS = (
    "rows_read", "scored", "quarantined", "failed", "units_done", "units_total", "wall_s", "infer_s",
    "model_load_s", "cost", "currency", "energy_wh", "energy_wh_low", "energy_wh_high", "carbon_g",
    "ledger_coverage", "books_closed",
)  # fmt: skip
_PASSED = {True: "yes", False: "NO", None: "open"}
_DRAWN = ("energy_wh", "energy_wh_low", "energy_wh_high", "carbon_g")


def show(lake: Path, run_id: str, *, as_json: bool) -> None:
    """Print one run. Its id may be cut short; UsageError where it fits no run, or several."""
    facts = read(lake, find(lake, run_id))
    if as_json:
        console.print_json(as_object(lake, facts))
    else:
        _print(lake, facts)


def report_command(lake: Path, run_id: str, as_json: bool, *, show_examples: bool = False) -> None:
    """Write a run's pages anew and print their paths; the id may be cut short as in `show`.

    ``show_examples``: the page about its rules has values of refused rows.
    """
    found = find(lake, run_id)
    rules = None
    if VALIDATIONS.name in tables(lake) and read(lake, found).rules:
        rules = str(validation_page.write(lake, found, show_examples=show_examples))
    path = str(report.write(lake, found))
    index = str(index_page.write(lake))
    if as_json:
        told = {"run_id": found, "report": path, "validation": rules, "index": index}
        console.print_json(told)
    else:
        console.echo("\n".join(filter(None, (path, rules, index))))


def index_command(lake: Path, as_json: bool) -> None:
    """Write the page about all runs of a lake anew and print its path."""
    path = str(index_page.write(lake))
    if as_json:
        console.print_json({"index": path})
    else:
        console.echo(path)


def find(lake: Path, prefix: str) -> str:
    """Return the only run whose id is, or begins with, `prefix`. Raises UsageError otherwise."""
    known: list[str] = []
    if RUNS.name in tables(lake):
        sql = "SELECT run_id FROM runs GROUP BY run_id ORDER BY MAX(at) DESC, run_id"
        known = query(lake, sql)["run_id"].to_pylist()
    return the_run(prefix, known, lake)


def as_object(lake: Path, facts: Facts) -> dict[str, Any]:
    """Return what `show` says as one object; money as a text, so that no digit is lost."""
    run = facts.run
    about = ("run_id", "job", "state", "fingerprint", "model", "model_digest", "detail")
    return {
        **{name: run[name] for name in about},
        "replays": run.get("replays"),
        **{name: run[name] for name in TOTALS},
        "cost": None if run["cost"] is None else str(run["cost"]),
        "gates": gates_of(run),
        "forecast": run["forecast"] and json.loads(run["forecast"]),
        "energy": facts.energy,
        "events": [
            {name: event[name] for name in ("event", "state", "at")} for event in facts.events
        ],
        "rules": [_rule(rule) for rule in facts.rules],
        "refused_by": facts.reasons,
        "cost_by_kind": [{**kind, "cost": _exact(kind["cost"])} for kind in facts.kinds],
        "waste_s": sum(row["slot_s"] for row in facts.waste) if facts.kinds else None,
        "saved": {**facts.saved, "cost": _exact(facts.saved["cost"])},
        "lake": str(lake),
        "report": _report(lake, run["run_id"]),
    }


def _print(lake: Path, facts: Facts) -> None:
    run = facts.run
    console.echo(f"run {run['run_id']} of job {run['job']}: {run['state']}")
    if run["detail"]:
        console.echo(console.seen(run["detail"]))
    if run.get("replays"):
        console.echo(f"replays   refused rows of {run['replays']}")
    total, outcomes = report.rows_flow(facts)
    flow = " + ".join(f"{part.value:,} {part.label}" for part in outcomes)
    console.echo(f"rows      {'not counted' if total is None else f'{total:,} read = {flow}'}")
    if run["wall_s"] is not None:
        attempts = len(facts.began)
        last = f", the last of {attempts} attempts" if attempts > 1 else ""
        console.echo(f"time      {duration(run['wall_s'])}{last}")
    console.echo(f"cost      {_cost(run)}")
    console.echo(f"energy    {drawn(*(run[name] for name in _DRAWN))}")
    if told := _foretold(run):
        console.echo(f"foretold  {told}")
    if facts.saved["rows"]:
        console.echo(f"saved     {_saved(facts.saved)}")
    console.echo(f"model     {run['model']}")
    console.echo(
        f"report    {_report(lake, run['run_id']) or 'none: millrace report ' + run['run_id']}"
    )
    events = [
        {"event": e["event"], "state": e["state"], "at": moment(e["at"])} for e in facts.events
    ]
    console.print_rows(["event", "state", "at"], events, "What happened")
    broken = [_rule(rule) for rule in facts.rules if not rule["passed"]]
    names = ["rule", "severity", "checked", "failed"]
    if broken:
        console.print_rows(names, broken, f"Broken rules ({len(broken)} of {len(facts.rules)})")
    if gates := gates_of(run):
        shown = [{**gate, "passed": _PASSED[gate["passed"]]} for gate in gates]
        console.print_rows(["passed", "name", "got", "allowed"], shown, "What must add up")
    if facts.kinds:
        kinds = [{**row, "cost": _exact(row["cost"])} for row in facts.kinds]
        console.print_rows(["kind", "slot_s", "cost"], kinds, "Cost by kind")


def _rule(rule: dict[str, Any]) -> dict[str, Any]:
    return {name: rule[name] for name in ("rule", "severity", "checked", "failed", "passed")}


def _cost(run: dict[str, Any]) -> str:
    if run["cost"] is None:
        return "not known"
    books = {True: "the books close", False: "the books do not close"}
    closed = books.get(run["books_closed"], "books not checked")
    return f"{exact(run['cost'])} {run['currency']} ({closed})"


def _foretold(run: dict[str, Any]) -> str | None:
    """What was foretold of the cost, or of the time, before anything was scored."""
    if not run["forecast"]:
        return None
    told = json.loads(run["forecast"])
    low, mid, high = (money(Decimal(told["cost"][name])) for name in ("low", "mid", "high"))
    return f"{mid} {run['currency']} ({low} to {high}, 80 % of the time), by {told['basis']}"


def _saved(saved: dict[str, Any]) -> str:
    seconds = "" if saved["slot_s"] is None else f", {duration(saved['slot_s'])} of task time"
    cost = "" if saved["cost"] is None else f", {exact(saved['cost'])} {saved['currency']}"
    return f"{saved['rows']:,} rows were not computed again{seconds}{cost}"


def _exact(cost: Any) -> str | None:
    return None if cost is None else f"{cost:f}"


def _report(lake: Path, run_id: str) -> str | None:
    path = report.path_of(lake, run_id)
    return str(path) if path.is_file() else None

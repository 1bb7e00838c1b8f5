"""Comparisons for a run's page: sums of its tables, forecast and outcome, and energy."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from millrace.pipelines.console.formatting import count, duration, exact, money
from millrace.pipelines.query.lake_reader import Row
from millrace.pipelines.query.run_details import RunDetails

_CREDENTIALS = re.compile(r"://[^/@\s]*@")


def books(details: RunDetails) -> list[tuple[str, bool | None, str]]:
    """List what must add up: its name, whether it does (None: unknown), and the numbers in words."""
    run, counted, spent = details.run, details.counted, details.spent
    there = run["scored"], run["quarantined"], run["failed"]
    made = None if counted["scored"] is None else counted["scored"] + (counted["failed"] or 0)
    reported = None if run["scored"] is None else run["scored"] + (run["failed"] or 0)
    cost = spent["original_cost"]  # before it was repriced
    total = None if None in there else sum(there)
    rows = "The run did not get as far as counting its rows"
    if total is not None:
        parts = "{:,} scored + {:,} quarantined + {:,} failed".format(*there)
        rows = f"{parts} = {total:,}, and {count(run['rows_read'])} were read"
    return [
        ("Every row is accounted for", None if total is None else total == run["rows_read"], rows),
        _same("The predictions table agrees", "rows", made, reported),
        _same("The quarantine table agrees", "rows", counted["quarantined"], run["quarantined"]),
        _same("The ledger agrees on cost", run["currency"] or "", cost, run["cost"]),
    ]


def _same(name: str, unit: str, found: Any, reported: Any) -> tuple[str, bool | None, str]:
    one, other = (
        exact(value) if value is None else f"{exact(value)} {unit}" for value in (found, reported)
    )
    if found is None or reported is None:
        return (
            name,
            None,
            f"Nothing to compare: in the table {one}, in the run's own report {other}",
        )
    return name, found == reported, f"The table has {one}, the run reported {other}"


def forecast_rows(run: Row) -> list[Row]:
    """Return forecast and outcome as texts; empty for a run without a forecast."""
    forecast = as_object(run["forecast"])
    if not forecast:
        return []
    time, cost = (
        forecast["seconds"],
        {name: Decimal(each) for name, each in forecast["cost"].items()},
    )
    currency = forecast["currency"]
    return [
        _compared("Inference", time, run["infer_s"], duration),
        _compared("Cost", cost, run["cost"], lambda value: f"{money(value)} {currency}"),
    ]


def drawn(methods: Sequence[Row]) -> Row | None:
    """Energy of all methods together; None where it is not known."""
    if not methods:
        return None
    names = ("wh", "wh_low", "wh_high")
    grams = [row["carbon_g"] for row in methods]
    return {
        **{name: sum(row[name] for row in methods) for name in names},
        "carbon_g": None if None in grams else sum(grams),
    }


def _compared(name: str, forecast: dict[str, Any], truth: Any, shown: Callable[[Any], str]) -> Row:
    is_within = None if truth is None else forecast["low"] <= truth <= forecast["high"]
    off = float(truth / forecast["mid"]) - 1 if truth is not None and forecast["mid"] else None
    words = {key: shown(forecast[key]) for key in ("low", "mid", "high")}
    return {
        "name": name,
        **words,
        "truth": None if truth is None else shown(truth),
        "within": is_within,
        "off": None if off is None else f"{off:+.0%}",
    }


def as_object(text: str | None) -> Row:
    """Read a JSON object; anything else under the name ``value``. Credentials in a URI are cut out."""
    shown = _CREDENTIALS.sub("://", text or "{}")
    try:
        found = json.loads(shown)
    except ValueError:
        found = shown
    return found if isinstance(found, dict) else {"value": found}

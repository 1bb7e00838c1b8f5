"""What was promised, foretold and drawn in a run, against what came: for its page."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from pipelines.asked import Row
from pipelines.facts import Facts, gates_of
from pipelines.words import count, duration, exact, money, percent
from schemas.summary import NOTHING_COMPUTED

_CREDENTIALS = re.compile(r"://[^/@\s]*@")


def books(facts: Facts) -> list[tuple[str, bool | None, str]]:
    """List what must add up: its name, whether it does (None: unknown), and the numbers in words."""
    run, counted, spent = facts.run, facts.counted, facts.spent
    there = run["scored"], run["quarantined"], run["failed"]
    made = None if counted["scored"] is None else counted["scored"] + (counted["failed"] or 0)
    said = None if run["scored"] is None else run["scored"] + (run["failed"] or 0)
    coverage, cost = run["ledger_coverage"], spent["original_cost"]  # before it was repriced
    total = None if None in there else sum(there)
    rows = "The run did not get as far as counting its rows"
    if total is not None:
        parts = "{:,} scored + {:,} refused + {:,} failed".format(*there)
        rows = f"{parts} = {total:,}, and {count(run['rows_read'])} were read"
    return [
        ("Every row is accounted for", None if total is None else total == run["rows_read"], rows),
        _same("The predictions table agrees", "rows", made, said),
        _same("The quarantine table agrees", "rows", counted["quarantined"], run["quarantined"]),
        (
            "Task time was metered",
            None if coverage is None else coverage >= 0.95,  # noqa: PLR2004 - as ACCOUNTING asks
            "No row was computed"
            if any(gate["got"] == NOTHING_COMPUTED for gate in gates_of(run))
            else "No task times of Spark's to compare with"
            if coverage is None
            else f"{percent(coverage)} of the inference stage's task time is in the meters; "
            "95% is asked for, and the rest is listed as not attributed",
        ),
        _same("The ledger agrees on cost", run["currency"] or "", cost, run["cost"]),
    ]


def _same(name: str, unit: str, found: Any, said: Any) -> tuple[str, bool | None, str]:
    one, other = (
        exact(value) if value is None else f"{exact(value)} {unit}" for value in (found, said)
    )
    if found is None or said is None:
        return (
            name,
            None,
            f"Nothing to compare: in the table {one}, in the run's own report {other}",
        )
    return name, found == said, f"The table has {one}, the run reported {other}"


def foretold(run: Row) -> list[Row]:
    """What was foretold before scoring and what it came to, each in words; empty where nothing told."""
    told = as_object(run["forecast"])
    if not told:
        return []
    time, cost = told["seconds"], {name: Decimal(each) for name, each in told["cost"].items()}
    currency = told["currency"]
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


def _compared(name: str, told: dict[str, Any], truth: Any, shown: Callable[[Any], str]) -> Row:
    is_within = None if truth is None else told["low"] <= truth <= told["high"]
    off = float(truth / told["mid"]) - 1 if truth is not None and told["mid"] else None
    words = {key: shown(told[key]) for key in ("low", "mid", "high")}
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

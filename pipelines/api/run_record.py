"""One run as plain values, from the tables alone: events, rules, cost by kind."""

from __future__ import annotations

import json
from typing import Any

from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query.run_details import RunDetails, gates_of
from millrace.schemas.summary import TOTALS


def as_object(lake: LakeLocation, facts: RunDetails) -> dict[str, Any]:
    """Return the run as plain values; money as a text, so that no digit is lost."""
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
        "rules": [rule_of(rule) for rule in facts.rules],
        "refused_by": facts.reasons,
        "cost_by_kind": [{**kind, "cost": cost_text(kind["cost"])} for kind in facts.kinds],
        "waste_s": sum(row["slot_s"] for row in facts.waste) if facts.kinds else None,
        "saved": {**facts.saved, "cost": cost_text(facts.saved["cost"])},
        "lake": str(lake),
        "report": report_of(lake, run["run_id"]),
    }


def rule_of(rule: dict[str, Any]) -> dict[str, Any]:
    """Return a rule's result: name, severity, rows checked and failed, outcome."""
    return {name: rule[name] for name in ("rule", "severity", "checked", "failed", "passed")}


def cost_text(cost: Any) -> str | None:
    """Return money with every digit; None where it is not known."""
    return None if cost is None else f"{cost:f}"


def report_of(lake: LakeLocation, run_id: str) -> str | None:
    """Return the path of the run's HTML report; None where it is not there."""
    path = lake.report_page(run_id)
    return str(path) if path.is_file() else None

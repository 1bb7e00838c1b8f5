"""Details of one run, from the tables of a lake."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime

from millrace.pipelines.lake.attempts import attempts
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query.lake_reader import LakeReader, Row
from millrace.pipelines.query.views import literal, quoted
from millrace.schemas import figures
from millrace.schemas.errors import UsageError
from millrace.schemas.figures import BEGINS, Span
from millrace.schemas.tables import (
    CALIBRATIONS,
    LEDGER,
    QUARANTINE,
    UNITS,
    VALIDATIONS,
    predictions_name,
)

SHOWN = 12  # partitions with a line of their own; the others share one
KINDS = {  # what people call a kind of cost, in the order of the bars
    "useful": "Scoring rows",
    "calibration": "Trying out backends",
    "validation": "Checking rows",
    "read": "Waiting for rows",
    "write": "Writing",
    "model_load": "Loading the model",
    "startup": "Starting up",
    "driver": "Coordinating (the driver)",
    "idle": "Idle cores",
    "unattributed": "Unexplained",
    "speculative": "Slower copies of tasks",
    "recomputed": "Computed again",
    "killed": "Killed attempts",
    "failed": "Failed attempts",
    "uncommitted": "Scored, not committed",
}
NO_SPENDING: Row = {
    "partitions": 0,
    "applications": 0,
    "attempts": None,
    "rows_scored": None,
    "slot_s": None,
    "cost": None,
    "original_cost": None,
    "currency": None,
}

NOTHING_SAVED: Row = {"rows": None, "slot_s": None, "cost": None, "currency": None}
_FIELD = re.compile(r"\n  (got|allowed|next): +")


@dataclass(frozen=True)
class RunDetails:
    """What the tables of a lake know about one run; a table that is not there gives nothing."""

    run: Row  # its last event
    events: list[Row]
    rules: list[Row]
    reasons: list[Row]  # rule, severity, rows
    kinds: list[Row]  # kind, slot_s, cost
    partitions: list[Row]  # as the view cost_by_partition has them, longest first, SHOWN at most
    spent: Row  # partitions, applications, attempts, rows_scored, slot_s, cost, original_cost, currency
    waste: list[Row]
    prices: list[Row]
    counted: dict[str, int | None]  # rows in the tables: scored, failed, quarantined
    saved: (
        Row  # rows that no model computed, slot_s and cost of what that would have been; or nulls
    )
    ways: list[Row]  # to compute the model, as the run measured them
    energy: list[Row]  # method, wh, wh_low, wh_high, carbon_g, source; the most first
    scored_now: int  # rows of the units that the last attempt committed
    span: Span | None  # how long machines were allocated, all attempts together

    @property
    def began(self) -> list[datetime]:
        """When each attempt at the run began, the first one first."""
        return [event["at"] for event in self.events if event["state"] in BEGINS]


def read(lake: LakeLocation, run_id: str) -> RunDetails:
    """Read what the tables know about a run. Raises UsageError where there is no such run."""
    reader, run = LakeReader(lake), literal(run_id)
    events = reader.runs(f"SELECT * FROM runs WHERE run_id = {run} ORDER BY event")  # noqa: S608
    if not events:
        raise UsageError(f"no run {run_id} in {lake}", next=f"millrace runs --lake {lake}")
    refused = reader.rows(_REFUSED.format(run=run), QUARANTINE.name)
    predictions = predictions_name(events[-1]["job"])
    made = reader.rows(_PREDICTED.format(run=run, table=quoted(predictions)), predictions)
    counted = (made or [{"scored": None, "failed": None}])[0]
    charged = reader.rows(_CHARGED.format(run=run), LEDGER.name)
    return RunDetails(
        run=events[-1],
        events=events,
        rules=reader.rows(_RULES.format(run=run), VALIDATIONS.name),
        reasons=reader.rows(_REASONS.format(run=run), QUARANTINE.name),
        kinds=sorted(
            reader.rows(_KINDS.format(run=run), LEDGER.name), key=lambda row: in_order(row["kind"])
        ),
        partitions=reader.rows(_PARTITIONS.format(run=run, shown=SHOWN), LEDGER.name),
        spent=(reader.rows(_SPENT.format(run=run), LEDGER.name) or [NO_SPENDING])[0],
        waste=reader.rows(_WASTE.format(run=run), LEDGER.name),
        prices=reader.rows(_PRICES.format(run=run), LEDGER.name),
        counted={**counted, "quarantined": refused[0]["rows"] if refused else None},
        saved=(reader.rows(_SAVED.format(run=run), LEDGER.name) or [NOTHING_SAVED])[0],
        ways=reader.rows(_WAYS.format(run=run), CALIBRATIONS.name),
        energy=reader.rows(_ENERGY.format(run=run), LEDGER.name),
        scored_now=_scored_now(reader.rows(_UNITS.format(run=run), UNITS.name), events),
        span=_span(events, {row["attempt"]: row["ended"] for row in charged}),
    )


def _scored_now(units: list[Row], events: list[Row]) -> int:
    began = [event["at"] for event in events if event["state"] in BEGINS]
    return figures.scored_now(events[-1]["scored"], began, units)


def _span(events: list[Row], charged: dict[int, datetime | None]) -> Span | None:
    """Of an attempt whose driver died without a word, the ledger says until when it was charged."""
    begins = {event["event"]: event for event in events if event["state"] in BEGINS}
    if not begins or any(event["held_since"] is None for event in begins.values()):
        return None
    spans = [
        {
            "held_since": one.began,
            "began": begins[one.number]["at"],
            "ended": one.closed or charged.get(one.number),
        }
        for one in attempts(events)
    ]
    return figures.span(spans)


def gates_of(run: Row) -> list[Row]:
    """What had to add up when the run's books were closed: name, passed, got and allowed of each."""
    found: list[Row] = json.loads(run["gates"] or "[]")
    return found


def in_order(kind: str) -> int:
    """Where a kind of cost comes in the bars: known kinds as in KINDS, others after."""
    return list(KINDS).index(kind) if kind in KINDS else len(KINDS)


_RULES = "SELECT * FROM validations WHERE run_id = {run} ORDER BY at, kind DESC, rule"
_REFUSED = "SELECT COUNT(*) AS rows FROM quarantine WHERE run_id = {run}"
_REASONS = """
SELECT reason['rule'] AS rule, reason['severity'] AS severity, COUNT(*) AS rows
FROM (SELECT UNNEST(reasons) AS reason FROM quarantine WHERE run_id = {run}) AS broken
GROUP BY reason['rule'], reason['severity'] ORDER BY rows DESC, rule
"""
_PREDICTED = """
SELECT COUNT(*) - COUNT(error) AS scored, COUNT(error) AS failed FROM {table} WHERE run_id = {run}
"""
_UNITS = "SELECT unit, state, seconds, scored, at FROM units WHERE run_id = {run}"
_CHARGED = """
SELECT x_RunAttempt AS attempt, MAX(ChargePeriodEnd) AS ended FROM ledger
WHERE x_RunId = {run} AND x_RunAttempt IS NOT NULL GROUP BY x_RunAttempt
"""
_KINDS = """
SELECT x_CostKind AS kind, SUM(EffectiveCost) AS cost, SUM(x_EnergyWh) AS energy_wh,
  CAST(SUM(CASE WHEN SkuMeter = 'Core' THEN x_SlotMs ELSE 0 END) AS DOUBLE) / 1000 AS slot_s
FROM ledger WHERE x_RunId = {run} AND x_CostKind <> 'saved' GROUP BY x_CostKind
"""
_PARTITIONS = """
SELECT * FROM cost_by_partition WHERE run_id = {run}
ORDER BY slot_s DESC, app_id, stage_id, partition_id LIMIT {shown}
"""
_SPENT = """
SELECT COUNT(*) AS partitions, SUM(attempts) AS attempts, SUM(rows_scored) AS rows_scored,
  SUM(slot_s) AS slot_s, SUM(cost) AS cost, MAX(currency) AS currency,
  COUNT(DISTINCT app_id) AS applications,
  (SELECT SUM(EffectiveCost) FROM ledger
   WHERE x_RunId = {run} AND x_CostKind <> 'saved'
   AND COALESCE(x_RecordType, 'ORIGINAL') = 'ORIGINAL') AS original_cost
FROM cost_by_partition WHERE run_id = {run}
"""
_SAVED = """
SELECT SUM(CASE WHEN SkuMeter = 'Core' THEN x_RowsIn END) AS rows,
  CAST(SUM(CASE WHEN SkuMeter = 'Core' THEN x_SlotMs END) AS DOUBLE) / 1000 AS slot_s,
  SUM(EffectiveCost) AS cost, MAX(BillingCurrency) AS currency
FROM ledger WHERE x_RunId = {run} AND x_CostKind = 'saved'
"""
_ENERGY = """
SELECT x_EnergyMethod AS method, SUM(x_EnergyWh) AS wh, SUM(x_EnergyWhLow) AS wh_low,
  SUM(x_EnergyWhHigh) AS wh_high, SUM(x_CarbonG) AS carbon_g, MAX(x_IntensitySource) AS source
FROM ledger WHERE x_RunId = {run} AND x_EnergyWh IS NOT NULL GROUP BY x_EnergyMethod
ORDER BY wh DESC
"""
_WASTE = "SELECT * FROM waste WHERE run_id = {run} ORDER BY slot_s DESC"
_WAYS = """
SELECT backend, precision, rows_per_s, batch_cost, errors, within, why, chosen
FROM calibrations WHERE run_id = {run} ORDER BY place
"""
_PRICES = """
SELECT SkuMeter AS meter, SkuPriceId AS id, ListUnitPrice AS price, ConsumedUnit AS unit,
  BillingCurrency AS currency, PricingCategory AS category, x_PriceBookVersion AS book,
  x_CostBasis AS basis, SUM(ConsumedQuantity) AS quantity, SUM(EffectiveCost) AS cost
FROM ledger WHERE x_RunId = {run} AND SkuPriceId IS NOT NULL AND x_CostKind <> 'saved'
GROUP BY SkuMeter, SkuPriceId, ListUnitPrice, ConsumedUnit, BillingCurrency, PricingCategory,
  x_PriceBookVersion, x_CostBasis
HAVING SUM(CASE WHEN x_RecordType = 'RETRACTION' THEN -1 ELSE 1 END) > 0
ORDER BY id
"""


def row_outcomes(details: RunDetails) -> tuple[int | None, dict[str, int]]:
    """Return the rows that were read, None where unknown, and how many had which outcome."""
    run, done = details.run, details.run["state"] == "done"
    known = run if done else details.counted
    scored, refused, failed = (known[name] or 0 for name in ("scored", "quarantined", "failed"))
    checked = [rule["checked"] or 0 for rule in details.rules if rule["kind"] != "expectation"]
    checked = checked or [rule["checked"] or 0 for rule in details.rules]
    total = run["rows_read"] if done else max(checked, default=None)
    outcomes = {"scored": scored}
    if not done and total is not None:
        outcomes["not scored"] = max(0, total - scored - refused - failed)
    return total, outcomes | {"quarantined": refused, "failed": failed}


def reason(run: Row) -> dict[str, str]:
    """Take the detail of an event apart: kind of error, what, got, allowed and next, or empty."""
    kind, _, text = str(run["detail"] or "").partition(": ")
    what, *fields = _FIELD.split(text)
    named = dict.fromkeys(("got", "allowed", "next"), "")
    return {
        "kind": kind,
        "what": what,
        **named,
        **dict(zip(fields[::2], fields[1::2], strict=True)),
    }

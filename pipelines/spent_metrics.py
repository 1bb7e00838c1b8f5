"""Metrics of what runs held and paid: seconds and cost by kind, waste, energy, batches; and drift."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.asked import Lake
from pipelines.exposition import Family
from pipelines.views import literal, quoted
from schemas.tables import DRIFT, LEDGER, predictions_name

JOULES_A_WH = 3600.0
DISTANCES = ("psi", "ks", "js", "missing")


def ledger(lake: Lake) -> Iterator[Family]:
    """Slots held and what that cost, by kind: idle, driver and start-up among them."""
    held = Family("millrace_slot_seconds_total", "counter", "Seconds that slots were held, by kind")
    last = Family(
        "millrace_last_run_slot_seconds", "gauge", "Seconds that slots were held, by kind"
    )
    cost = Family("millrace_cost", "gauge", "What all runs cost, currency; falls when repriced so")
    last_cost = Family("millrace_last_run_cost", "gauge", "What the run cost, currency; by kind")
    for row in lake.rows(_HELD.format(runs=lake.chosen), LEDGER.name):
        kind = {"job": row["job"], "kind": row["kind"]}
        held.add(row["slot_s"], **kind)
        last.add(row["last_slot_s"], **kind)
    for row in lake.rows(_COST.format(runs=lake.chosen), LEDGER.name):
        paid = {"job": row["job"], "kind": row["kind"], "currency": row["currency"]}
        cost.add(row["cost"], **paid)
        last_cost.add(row["last_cost"], **paid)
    yield from (held, last, cost, last_cost)


def waste(lake: Lake) -> Iterator[Family]:
    """What was held and paid for nothing, by kind; no sample where nothing was."""
    total = Family("millrace_waste_seconds_total", "counter", "Seconds held for no row, by kind")
    last = Family("millrace_last_run_waste_share", "gauge", "Of the run's cost, 0 to 1; by kind")
    for row in lake.rows(
        "SELECT job, kind, SUM(slot_s) AS slot_s FROM waste GROUP BY job, kind ORDER BY job, kind",
        LEDGER.name,
    ):
        total.add(row["slot_s"], job=row["job"], kind=row["kind"])
    for row in lake.rows(_WASTE.format(runs=lake.chosen), LEDGER.name):
        last.add(row["share_of_cost"], job=row["job"], kind=row["kind"])
    yield from (total, last)


def energy(lake: Lake) -> Iterator[Family]:
    """What runs drew, by how that is known, and what it emitted."""
    drawn = Family("millrace_energy_joules", "gauge", "What all runs drew, by how it is known")
    last = Family("millrace_last_run_energy_joules", "gauge", "What the run drew, at all bounds")
    carbon = Family("millrace_carbon_grams", "gauge", "CO2 equivalent of all runs, grams")
    last_carbon = Family("millrace_last_run_carbon_grams", "gauge", "CO2 equivalent, grams")
    for row in lake.rows(_ENERGY, LEDGER.name):
        drawn.add(JOULES_A_WH * row["wh"], job=row["job"], method=row["method"])
        carbon.add(row["grams"], job=row["job"], method=row["method"])
    for job, run in lake.last.items():
        for bound, column in (("low", "_low"), ("mid", ""), ("high", "_high")):
            wh = run[f"energy_wh{column}"]
            last.add(None if wh is None else JOULES_A_WH * wh, job=job, bound=bound)
        last_carbon.add(run["carbon_g"], job=job)
    yield from (drawn, last, carbon, last_carbon)


def batches(lake: Lake) -> Iterator[Family]:
    """How many rows the model got a call, by the meters that are committed with the predictions."""
    rows = Family("millrace_last_run_batch_rows", "gauge", "Rows that the model got a call, mean")
    calls = Family("millrace_last_run_model_calls", "gauge", "Calls of the model")
    for run_id, job in lake.jobs.items():
        table = predictions_name(job)
        sql = _BATCHES.format(table=quoted(table), run=literal(run_id))
        for row in lake.rows(sql, table):
            calls.add(row["calls"], job=job)
            rows.add(row["n"] / row["calls"] if row["calls"] else None, job=job)
    yield from (rows, calls)


def drift(lake: Lake) -> Iterator[Family]:
    """How far columns are from the baseline's; by the last attempt of the last run."""
    far = Family("millrace_last_run_drift", "gauge", "Distance from the baseline, by its kind")
    over = Family("millrace_last_run_drifted", "gauge", "1 where a distance is over its limit")
    newest: dict[tuple[str, ...], dict[str, object]] = {}
    for row in lake.rows(_DRIFT.format(runs=lake.chosen), DRIFT.name):
        newest[row["job"], row["side"], row["column"], row["measure"]] = row
    for (job, side, column, measure), row in newest.items():
        about = {"job": job, "side": side, "column": column, "measure": measure}
        for distance in DISTANCES:
            far.add(row[distance], **about, distance=distance)  # type: ignore[arg-type]
        over.add(row["drifted"], **about)  # type: ignore[arg-type]
    yield from (far, over)


_HELD = """
SELECT x_Job AS job, x_CostKind AS kind,
  SUM(CASE WHEN SkuMeter = 'Core' THEN x_SlotMs ELSE 0 END) / 1000.0 AS slot_s,
  SUM(CASE WHEN SkuMeter = 'Core' AND x_RunId IN ({runs}) THEN x_SlotMs ELSE 0 END) / 1000.0
    AS last_slot_s
FROM ledger WHERE x_CostKind <> 'saved' GROUP BY x_Job, x_CostKind ORDER BY job, kind
"""
_COST = """
SELECT x_Job AS job, x_CostKind AS kind, BillingCurrency AS currency, SUM(EffectiveCost) AS cost,
  SUM(CASE WHEN x_RunId IN ({runs}) THEN EffectiveCost END) AS last_cost
FROM ledger WHERE x_CostKind <> 'saved' AND BillingCurrency IS NOT NULL
GROUP BY x_Job, x_CostKind, BillingCurrency ORDER BY job, kind, currency
"""
_WASTE = """
SELECT job, kind, MAX(share_of_cost) AS share_of_cost FROM waste
WHERE run_id IN ({runs}) GROUP BY job, kind ORDER BY job, kind
"""
_ENERGY = """
SELECT x_Job AS job, x_EnergyMethod AS method, SUM(x_EnergyWh) AS wh, SUM(x_CarbonG) AS grams
FROM ledger WHERE x_CostKind <> 'saved' AND x_EnergyWh IS NOT NULL
GROUP BY x_Job, x_EnergyMethod ORDER BY job, method
"""
_BATCHES = """
SELECT SUM(_meter['rows']) AS n, SUM(_meter['model_batches']) AS calls
FROM {table} WHERE run_id = {run} AND _meter IS NOT NULL
"""
_DRIFT = """
SELECT * FROM drift WHERE run_id IN ({runs}) AND unit IS NULL
ORDER BY job, side, "column", measure, event
"""

"""Metrics of what runs cost: slot seconds and cost by kind, waste, energy, batches; and drift."""

from __future__ import annotations

from collections.abc import Iterator

from millrace.pipelines.observability.metric_families import MetricFamily, add, counter, gauge
from millrace.pipelines.query.lake_reader import LakeReader, Row
from millrace.pipelines.query.views import literal, quoted
from millrace.schemas.tables import DRIFT, LEDGER, predictions_name

JOULES_PER_WH = 3600.0
DISTANCES = ("psi", "ks", "js", "missing")


def ledger(lake: LakeReader) -> Iterator[MetricFamily]:
    """Yield slot seconds and their cost by kind, among them idle, driver and start-up."""
    text = "Seconds that slots were held, by kind"
    total = counter("millrace_slot_seconds_total", text, "job", "kind")
    last = gauge("millrace_last_run_slot_seconds", text, "job", "kind")
    for row in lake.rows(_SLOT_SECONDS.format(runs=lake.chosen), LEDGER.name):
        add(total, row["slot_s"], row["job"], row["kind"])
        add(last, row["last_slot_s"], row["job"], row["kind"])
    labels = ("job", "kind", "currency")
    text = "What all runs cost, currency; falls when repriced so"
    cost = gauge("millrace_cost", text, *labels)
    last_cost = gauge("millrace_last_run_cost", "What the run cost, currency; by kind", *labels)
    for row in lake.rows(_COST.format(runs=lake.chosen), LEDGER.name):
        values = [row[label] for label in labels]
        add(cost, row["cost"], *values)
        add(last_cost, row["last_cost"], *values)
    yield from (total, last, cost, last_cost)


def waste(lake: LakeReader) -> Iterator[MetricFamily]:
    """Yield the lost work by kind; a kind without lost work has no sample."""
    text = "Seconds of lost work, by kind; not idle"
    total = counter("millrace_waste_seconds_total", text, "job", "kind")
    text = "Of the run's cost, 0 to 1; by kind"
    last = gauge("millrace_last_run_waste_share", text, "job", "kind")
    for row in lake.rows(
        "SELECT job, kind, SUM(slot_s) AS slot_s FROM waste GROUP BY job, kind ORDER BY job, kind",
        LEDGER.name,
    ):
        add(total, row["slot_s"], row["job"], row["kind"])
    for row in lake.rows(_WASTE.format(runs=lake.chosen), LEDGER.name):
        add(last, row["share_of_cost"], row["job"], row["kind"])
    yield from (total, last)


def energy(lake: LakeReader) -> Iterator[MetricFamily]:
    """Yield the energy that runs drew, by the method of measurement, and their emissions."""
    text = "What all runs drew, by how it is known"
    drawn = gauge("millrace_energy_joules", text, "job", "method")
    text = "What the run drew, at all bounds"
    last = gauge("millrace_last_run_energy_joules", text, "job", "bound")
    text = "CO2 equivalent of all runs, grams"
    carbon = gauge("millrace_carbon_grams", text, "job", "method")
    last_carbon = gauge("millrace_last_run_carbon_grams", "CO2 equivalent, grams", "job")
    for row in lake.rows(_ENERGY, LEDGER.name):
        add(drawn, JOULES_PER_WH * row["wh"], row["job"], row["method"])
        add(carbon, row["grams"], row["job"], row["method"])
    for job, run in lake.last.items():
        for bound, column in (("low", "_low"), ("mid", ""), ("high", "_high")):
            wh = run[f"energy_wh{column}"]
            add(last, None if wh is None else JOULES_PER_WH * wh, job, bound)
        add(last_carbon, run["carbon_g"], job)
    yield from (drawn, last, carbon, last_carbon)


def batches(lake: LakeReader) -> Iterator[MetricFamily]:
    """Yield the mean rows of a model call, from the meters that are committed with predictions."""
    rows = gauge("millrace_last_run_batch_rows", "Rows that the model got a call, mean", "job")
    calls = gauge("millrace_last_run_model_calls", "Calls of the model", "job")
    for run_id, job in lake.jobs.items():
        table = predictions_name(job)
        sql = _BATCHES.format(table=quoted(table), run=literal(run_id))
        for row in lake.rows(sql, table):
            add(calls, row["calls"], job)
            add(rows, row["n"] / row["calls"] if row["calls"] else None, job)
    yield from (rows, calls)


def drift(lake: LakeReader) -> Iterator[MetricFamily]:
    """Yield each column's distances from the baseline, by the last attempt of the last run."""
    labels = ("job", "side", "column", "measure")
    text = "Distance from the baseline, by its kind"
    distances = gauge("millrace_last_run_drift", text, *labels, "distance")
    text = "1 where a distance is over its limit"
    drifted = gauge("millrace_last_run_drifted", text, *labels)
    newest: dict[tuple[str, ...], Row] = {}
    for row in lake.rows(_DRIFT.format(runs=lake.chosen), DRIFT.name):
        newest[tuple(row[label] for label in labels)] = row
    for values, row in newest.items():
        for distance in DISTANCES:
            add(distances, row[distance], *values, distance)
        add(drifted, row["drifted"], *values)
    yield from (distances, drifted)


_SLOT_SECONDS = """
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

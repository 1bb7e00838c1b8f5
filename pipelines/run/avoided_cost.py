"""What rows would have cost that no model computed: ledger rows of kind `saved`, outside of every sum."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow.compute as pc
from deltalake import DeltaTable

from millrace.pipelines.accounting.ledger import SAVED
from millrace.pipelines.job.prepared_job import PreparedJob
from millrace.pipelines.lake import delta, live_rows
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.lake.runs import DONE, Run
from millrace.schemas.ids import digest
from millrace.schemas.prices import PLACES
from millrace.schemas.tables import LEDGER, RUNS

_SUMMED = ("x_SlotMs", "x_RowsIn", "ConsumedQuantity", "EffectiveCost")
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
# What says how a meter is priced.
_SKU = (
    "SkuMeter", "SkuId", "SkuPriceId", "ConsumedUnit", "ListUnitPrice", "BillingCurrency",
    "PricingCategory", "x_PriceBookVersion", "x_CostBasis",
)  # fmt: skip


@dataclass(frozen=True)
class AvoidedCost:
    """Rows that got outputs which were there, and what computing them would have taken."""

    rows: int = 0
    seconds: float | None = 0.0  # of task time; None: no run has measured what a row takes
    cost: Decimal | None = None
    records: tuple[dict[str, Any], ...] = ()  # for the ledger


@dataclass(frozen=True)
class _Unit:
    """Rows of a committed unit, and those of them that no model saw."""

    rows: Counter[str]

    @property
    def saved(self) -> int:
        return self.rows["all"] - self.rows["computed"]

    @property
    def saved_good(self) -> int:
        return self.rows["good"] - self.rows["computed"] + self.rows["computed_failed"]


def compute_avoided_cost(
    prepared: PreparedJob, run: Run, rows: int, computed: int, spent: Sequence[Any]
) -> AvoidedCost:
    """What the run saved, where it computed fewer than its ``rows``; ``spent`` are its ledger rows.

    A saved row is priced at what a computed row of the run took for `useful` work. A run that computed
    nothing takes that from the last run of its model that did.
    """
    if rows <= computed:
        return AvoidedCost()
    prices, source = _per_row(spent), "this run's cost of a computed row"
    if not prices:
        prices, source = _earlier(prepared, run)
    units = _units(prepared.lake, prepared.predictions.name, run.run_id)
    records = tuple(
        record
        for number, unit in sorted(units.items())
        if unit.saved > 0
        for record in _records(run, number, unit, prices, source)
    )
    slot_ms = [record["x_SlotMs"] for record in records if record["SkuMeter"] == "Core"]
    costs = [r["EffectiveCost"] for r in records if r.get("EffectiveCost") is not None]
    return AvoidedCost(
        rows - computed,
        sum(slot_ms) / 1000 if prices else None,
        sum(costs, Decimal(0)) if costs else None,
        records,
    )


def _per_row(spent: Sequence[Any]) -> list[dict[str, Any]]:
    """Of each meter, what one computed row took of it for useful work, on the average of all prices.

    What the price was is said as it was last; rows in another currency than that are left out.
    """
    groups: dict[str, list[Any]] = {}
    for row in spent:
        if row["x_CostKind"] == "useful" and row.get("x_Committed") is not False:
            groups.setdefault(row["SkuMeter"], []).append(row)
    found = []
    for every in groups.values():
        last = max(
            every, key=lambda row: (row["ChargePeriodStart"] or _LONG_AGO, row["x_TaskId"] or 0)
        )
        sku = [last.get(name) for name in _SKU]
        rows = [row for row in every if row.get("BillingCurrency") == last.get("BillingCurrency")]
        sums = {name: sum(Decimal(row.get(name) or 0) for row in rows) for name in _SUMMED}
        count = sums.pop("x_RowsIn")
        if count:
            each = {name: value / count for name, value in sums.items()}
            is_priced = last.get("EffectiveCost") is not None
            found.append(dict(zip(_SKU, sku, strict=True)) | each | {"is_priced": is_priced})
    return found


def _earlier(prepared: PreparedJob, run: Run) -> tuple[list[dict[str, Any]], str]:
    """The prices of a row in the model's latest run that computed some."""
    mine = [("model_digest", "=", prepared.model.digest), ("state", "=", DONE)]
    done = delta.values(prepared.lake, RUNS, mine, ("run_id", "at"))
    for event in sorted(done, key=lambda event: event["at"], reverse=True):
        if event["run_id"] != run.run_id:
            of = [("x_RunId", "=", event["run_id"]), ("x_CostKind", "=", "useful")]
            if prices := _per_row(delta.values(prepared.lake, LEDGER, of)):
                return prices, f"run {event['run_id']}'s cost of a computed row"
    return [], "no run has measured what a row costs"


def _units(lake: LakeLocation, table: str, run_id: str) -> dict[int, _Unit]:
    """The run's committed units, counted a batch at a time."""
    found: dict[int, _Unit] = {}
    there = DeltaTable(lake.uri(table))
    columns = ["unit", "error", "_meter"]
    for batch in live_rows.batches(there, columns, [("run_id", "=", run_id)]):
        for number in pc.unique(batch.column("unit")).to_pylist():
            part = batch.filter(pc.equal(batch.column("unit"), number))
            meters = part.column("_meter")
            found.setdefault(number, _Unit(Counter())).rows.update(
                all=part.num_rows,
                good=part.column("error").null_count,
                computed=pc.sum(pc.struct_field(meters, "rows")).as_py() or 0,
                computed_failed=pc.sum(pc.struct_field(meters, "failed")).as_py() or 0,
            )
    return found


def _records(
    run: Run, number: int, unit: _Unit, prices: Sequence[dict[str, Any]], source: str
) -> list[dict[str, Any]]:
    """A unit's saved rows, one a meter; without prices the rows alone."""
    return [
        _record(run, number, unit, price) | {"x_Quality": source}
        for price in prices or [{"SkuMeter": "Core"}]
    ]


def _record(run: Run, number: int, unit: _Unit, price: dict[str, Any]) -> dict[str, Any]:
    about = {
        "x_RecordId": digest([run.run_id, number, SAVED, price["SkuMeter"]]),
        "x_RecordType": "ORIGINAL",
        "x_RunId": run.run_id,
        "x_Job": run.job,
        "x_Unit": number,
        "x_CostKind": SAVED,
        "x_Committed": True,
        "x_RowsIn": unit.saved,
        "x_RowsOut": unit.saved_good,
        **{name: price.get(name) for name in _SKU},
    }
    if "x_SlotMs" not in price:
        return about
    quantity = (price["ConsumedQuantity"] * unit.saved).quantize(PLACES)
    about |= {"x_SlotMs": round(price["x_SlotMs"] * unit.saved), "ConsumedQuantity": quantity}
    cost = (price["EffectiveCost"] * unit.saved).quantize(PLACES)
    return about | ({"EffectiveCost": cost} if price["is_priced"] else {})

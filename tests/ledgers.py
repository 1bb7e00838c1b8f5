"""Ledger rows as a run leaves them, and the prices that they may get: real tables, no Spark."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from millrace.pipelines.lake import delta
from millrace.pipelines.lake.location import LakeLocation
from millrace.schemas.ids import digest
from millrace.schemas.prices import METERS, PLACES, Instance, Meter, PriceBook
from millrace.schemas.tables import LEDGER

Row = dict[str, Any]
BEGAN = datetime(2026, 1, 1, 12, tzinfo=UTC)


def entry(price: str = "0.36", **changes: Any) -> dict[str, Any]:
    """An entry of a price book: 4 cores, 16 GB, from 2025 on."""
    return {
        "sku": "m", "region": "r", "vcpus": 4, "memory_gb": 16, "price_per_hour": price,
        "valid_from": "2025-01-01", "source": "test", **changes,
    }  # fmt: skip


def book(*entries: dict[str, Any], currency: str = "USD") -> PriceBook:
    return PriceBook.model_validate({"currency": currency, "instances": entries})


def charge(
    machine: Instance | None,
    task: int,
    held_ms: int,
    *,
    version: str = "first",
    meters: Iterable[Meter] = ("Core", "Memory"),
    **more: Any,
) -> list[Row]:
    """The original rows of one task attempt and kind, one a meter; without a machine, unpriced."""
    common: Row = {
        "x_RecordType": "ORIGINAL", "x_RunId": "digits-a1", "x_Job": "digits", "x_Unit": 0,
        "x_AppId": "app-1", "x_StageId": 2, "x_StageAttempt": 0, "x_PartitionId": task,
        "x_TaskAttempt": 0, "x_TaskId": task, "x_ExecutorId": "driver", "x_CostKind": "useful",
        "x_Outcome": "Success", "x_Committed": True, "x_CostBasis": "estimated",
        "ChargePeriodStart": BEGAN, "ChargePeriodEnd": BEGAN + timedelta(hours=2),
        "x_SlotMs": held_ms, "x_PyCpuNs": 7 * held_ms, "x_RowsIn": 101, "x_RowsOut": 97,
        "x_Tokens": None, "x_Bytes": 1001, "x_Quality": "measured", **more,
    }  # fmt: skip
    return [_metered(common, machine, meter, version) for meter in meters]


def _metered(common: Row, machine: Instance | None, meter: Meter, version: str) -> Row:
    names = ("x_RunId", "x_AppId", "x_TaskId", "x_CostKind", "ChargePeriodStart")
    row = {
        **common,
        "x_RecordId": digest([*[common[name] for name in names], meter]),
        "SkuMeter": meter,
        "ConsumedUnit": METERS[meter],
    }
    held_s = Decimal(common["x_SlotMs"]) / 1000
    if machine is None:
        return row | ({"ConsumedQuantity": held_s} if meter == "Core" else {})
    quantity, price = held_s * machine.per_core(meter), machine.unit_price(meter)
    return {
        **row,
        "SkuId": machine.sku,
        "SkuPriceId": f"{machine.sku}/{machine.region}/{meter}",
        "ConsumedQuantity": quantity.quantize(PLACES),
        "ListUnitPrice": price,
        "EffectiveCost": (quantity * price).quantize(PLACES),
        "BillingCurrency": "USD",
        "PricingCategory": machine.category,
        "x_PriceBookVersion": version,
    }


def whole(rows: Iterable[Row]) -> list[Row]:
    """The rows with every column of the ledger."""
    return [{column.name: row.get(column.name) for column in LEDGER.columns} for row in rows]


def lake_of(lake: Path, rows: Iterable[Row], transaction: str = "test") -> Path:
    """A lake with these rows in its ledger."""
    delta.append_values(rows, LakeLocation(lake), LEDGER, transaction)
    return lake

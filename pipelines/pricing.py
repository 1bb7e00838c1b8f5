"""Held time becomes money: each row once a meter, in parts that sum to price times time to the last decimal.

Rounding row by row would lose or invent a little each time. Here a row gets what the running total, rounded,
grew by: the parts of an attempt sum to the rounded total, whatever the prices, zeros included.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from pipelines.rate import Rate
from schemas.ids import digest
from schemas.prices import METERS, PLACES, Instance, Meter

Row = dict[str, Any]
_ABOUT = (
    "x_RunId", "x_RunAttempt", "x_AppId", "x_StageId", "x_StageAttempt", "x_TaskId", "x_ExecutorId",
    "x_CostKind",
)  # fmt: skip


class Running:
    """A total that is handed out in rounded parts."""

    def __init__(self) -> None:
        self._exact = Decimal(0)
        self._given = Decimal(0)

    def part(self, amount: Decimal) -> Decimal:
        """The rounded total's growth by ``amount``."""
        self._exact += amount
        part = self._exact.quantize(PLACES) - self._given
        self._given += part
        return part


def priced(rows: Sequence[Row], rate: Rate | None) -> list[Row]:
    """Each of an attempt's rows once a meter, and once a price that applied while it lasted."""
    totals: dict[tuple[str, str, str], Running] = defaultdict(Running)
    return [
        _made(row, part, meter, rate, totals)
        for row in rows
        for part in _parts(row, rate)
        for meter in _meters(part[0])
    ]


def _meters(instance: Instance | None) -> tuple[Meter, ...]:
    return ("Core", "Memory", "GPU") if instance and instance.gpus else ("Core", "Memory")


def _parts(row: Row, rate: Rate | None) -> Iterator[tuple[Instance | None, int, int]]:
    """By the price that applied: the instance, and of the row's milliseconds those from and up to."""
    began, ended, whole = row["ChargePeriodStart"], row["ChargePeriodEnd"], row["x_SlotMs"]
    if rate is None or ended is None or ended <= began:
        yield (rate.instance if rate else None), 0, whole
        return
    before = 0
    for instance, _, until in rate.pieces(began, ended):
        after = whole if until >= ended else round(whole * _share(began, until, ended))
        yield instance, before, after
        before = after


def _share(began: datetime, until: datetime, ended: datetime) -> float:
    return (until - began) / (ended - began)


def _made(
    row: Row,
    part: tuple[Instance | None, int, int],
    meter: Meter,
    rate: Rate | None,
    totals: dict[tuple[str, str, str], Running],
) -> Row:
    instance, before, after = part
    spent_ms = after - before
    plain = {name: value for name, value in row.items() if name != "cores"}
    if before:  # what is told once a task is told with its first price
        plain |= dict.fromkeys(_ONCE)
    later = [str(instance.valid_from)] if instance and before else []  # a price after the first
    about = {
        "x_RecordId": digest([*(row.get(name) for name in _ABOUT), meter, *later]),
        "x_SlotMs": spent_ms,
        "x_RecordType": "ORIGINAL",
        "SkuMeter": meter,
        "ConsumedUnit": METERS[meter],
        "x_CostBasis": "estimated",
    }
    held_s = Decimal(spent_ms) * row["cores"] / 1000
    if rate is None or instance is None:
        return {**plain, **about, "ConsumedQuantity": held_s if meter == "Core" else None}
    price_id = instance.price_id(meter)
    quantity, price = held_s * instance.per_core(meter), instance.unit_price(meter)
    return {
        **plain,
        **about,
        "SkuId": instance.sku,
        "SkuPriceId": price_id,
        "ConsumedQuantity": totals["quantity", meter, price_id].part(quantity),
        "ListUnitPrice": price,
        "EffectiveCost": totals["cost", meter, f"{price_id} {price}"].part(quantity * price),
        "BillingCurrency": rate.currency,
        "PricingCategory": instance.category,
        "x_PriceBookVersion": rate.book_version,
    }


_ONCE = (
    "x_PyCpuNs", "x_RowsIn", "x_RowsOut", "x_Tokens", "x_Bytes", "x_PeakRssBytes",
    "x_ExecutorRunTimeMs", "x_GcMs", "x_JvmCpuNs", "x_PyBootMs", "x_PyInitMs", "x_PyRunMs",
)  # fmt: skip

"""Held time becomes money: each row once a meter, in parts that sum to price times time to the last decimal.

Rounding row by row would lose or invent a little each time. Here a row gets what the running total, rounded,
grew by: the parts of an attempt sum to the rounded total, whatever the prices, zeros included.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from millrace.pipelines.accounting.energy import columns
from millrace.pipelines.accounting.rates import NEAREST, Piece, Rate
from millrace.schemas.ids import digest
from millrace.schemas.prices import METERS, PLACES, Instance, Meter

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


@dataclass(frozen=True)
class PricedPart:
    """The part of a row in which one price applied: its milliseconds from and up to."""

    place: int  # 0 for the first
    piece: Piece | None  # None: the row has no end, so all of it is at one price
    instance: Instance | None  # None: no price book
    before_ms: int
    after_ms: int

    @property
    def spent_ms(self) -> int:
        """Milliseconds of it."""
        return self.after_ms - self.before_ms


def priced(rows: Sequence[Row], rate: Rate | None) -> list[Row]:
    """Each of an attempt's rows once a meter, and once a price that applied while it lasted."""
    totals: dict[tuple[str, str, str], Running] = defaultdict(Running)
    return [
        _made(row, part, meter, rate, totals)
        for row in rows
        for part in _parts(row, rate)
        for meter in _meters(part.instance)
    ]


def _meters(instance: Instance | None) -> tuple[Meter, ...]:
    return ("Core", "Memory", "GPU") if instance and instance.gpus else ("Core", "Memory")


def _parts(row: Row, rate: Rate | None) -> Iterator[PricedPart]:
    """By the price that applied."""
    began, ended, whole = row["ChargePeriodStart"], row["ChargePeriodEnd"], row["x_SlotMs"]
    if rate is None:
        yield PricedPart(0, None, None, 0, whole)
        return
    if ended is None or ended <= began:
        piece = rate.pieces(began, began)[0]
        yield PricedPart(0, piece if not piece.is_covered else None, rate.instance, 0, whole)
        return
    before = 0
    for place, piece in enumerate(rate.pieces(began, ended)):
        over = (piece.end - began) / (ended - began)
        after = whole if piece.end >= ended else round(whole * over)
        yield PricedPart(place, piece, piece.instance, before, after)
        before = after


def _made(
    row: Row,
    part: PricedPart,
    meter: Meter,
    rate: Rate | None,
    totals: dict[tuple[str, str, str], Running],
) -> Row:
    instance = part.instance
    plain = {name: value for name, value in row.items() if name not in _OURS}
    if part.place:  # per-task values stand in the row of the first price
        plain |= dict.fromkeys(_ONCE)
    if part.piece is not None:
        plain |= _period(row, part.piece)
    later = [str(part.piece.start)] if part.place and part.piece else []
    about = {
        "x_RecordId": digest([*(row.get(name) for name in _ABOUT), meter, *later]),
        "x_SlotMs": part.spent_ms,
        "x_RecordType": "ORIGINAL",
        "SkuMeter": meter,
        "ConsumedUnit": METERS[meter],
        "x_CostBasis": "estimated",
    }
    allocated_s = Decimal(part.spent_ms) * row["cores"] / 1000
    if rate is None or instance is None:
        return {**plain, **about, "ConsumedQuantity": allocated_s if meter == "Core" else None}
    price_id = instance.price_id(meter)
    quantity, price = allocated_s * instance.per_core(meter), instance.unit_price(meter)
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
        **(_energy(row, part, float(allocated_s), rate) if meter == "Core" else {}),
    }


def _period(row: Row, piece: Piece) -> Row:
    """When the price applied, and whether it was the book's for that time or only the nearest."""
    found: Row = {}
    if piece.start < piece.end:
        found |= {"ChargePeriodStart": piece.start, "ChargePeriodEnd": piece.end}
    if not piece.is_covered:
        found["x_Quality"] = "; ".join(filter(None, [row.get("x_Quality"), NEAREST]))
    return found


def _energy(row: Row, part: PricedPart, core_s: float, rate: Rate) -> Row:
    """On one meter's row alone, so that sums over rows are right."""
    used, whole = row.get("used"), row["x_SlotMs"]
    if used is None or part.instance is None:
        return {}
    mine = used.part(part.spent_ms / whole if whole else 0.0)
    return columns(mine, core_s, part.instance, rate.grid)


_OURS = ("cores", "used")  # what a row has for its pricing alone
_ONCE = (
    "x_PyCpuNs", "x_RowsIn", "x_RowsOut", "x_Tokens", "x_Bytes", "x_PeakRssBytes", "x_GpuBusyMs",
    "x_GpuMemoryBytes", "x_ExecutorRunTimeMs", "x_GcMs", "x_JvmCpuNs", "x_PyBootMs", "x_PyInitMs",
    "x_PyRunMs",
)  # fmt: skip

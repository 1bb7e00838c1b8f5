"""Ledger rows that correct other rows: each takes one back, or says it again at another price.

A row is never edited. A RETRACTION has the negated amounts of the row that it takes back, so a plain
sum leaves nothing of it; a RESTATEMENT says what an ORIGINAL would have said with other prices.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from decimal import Decimal, localcontext
from typing import Any

from millrace.pipelines.accounting.rates import NEAREST, Piece, Rate
from millrace.schemas.ids import digest
from millrace.schemas.prices import METERS, PLACES, Instance, Meter
from millrace.schemas.tables import LEDGER

Row = dict[str, Any]
ORIGINAL, RETRACTION, RESTATEMENT = "ORIGINAL", "RETRACTION", "RESTATEMENT"
# Numbers that are names or prices; every other number of a ledger row is an amount, and sums.
NAMES = {
    "x_RunAttempt", "x_Unit", "x_StageId", "x_StageAttempt", "x_PartitionId", "x_TaskAttempt", "x_TaskId",
    "x_Revision", "ListUnitPrice",
}  # fmt: skip
AMOUNTS = tuple(
    column.name
    for column in LEDGER.columns
    if column.type.partition("(")[0] in ("int", "bigint", "double", "decimal")
    and column.name not in NAMES
)
# One task's time of one kind: what its meters have in common.
_TOGETHER = (
    "x_AppId", "x_StageId", "x_StageAttempt", "x_PartitionId", "x_TaskAttempt", "x_TaskId",
    "x_ExecutorId", "x_Unit", "x_CostKind", "ChargePeriodStart", "ChargePeriodEnd",
)  # fmt: skip
_DIGITS = 60  # more than any product of two decimal(38,12) that is rounded here


def current(rows: Iterable[Row]) -> list[Row]:
    """The rows that nothing has taken back."""
    rows = list(rows)
    gone = {row["x_Corrects"] for row in rows if row["x_RecordType"] == RETRACTION}
    return [
        row for row in rows if row["x_RecordType"] != RETRACTION and row["x_RecordId"] not in gone
    ]


def root(row: Row) -> str:
    """The id of the original that a row is, or restates."""
    return str(row["x_Corrects"] if row["x_RecordType"] == RESTATEMENT else row["x_RecordId"])


def retraction(row: Row, revision: int) -> Row:
    """The row that takes ``row`` back: the same, with every amount negated."""
    return {
        **row,
        **{name: -row[name] for name in AMOUNTS if row.get(name) is not None},
        "x_RecordId": digest([row["x_RecordId"], RETRACTION, revision]),
        "x_RecordType": RETRACTION,
        "x_Corrects": row["x_RecordId"],
        "x_Revision": revision,
    }


def restatements(
    originals: Sequence[Row], rates: Sequence[Rate], everything: Iterable[Row], revision: int
) -> Iterator[Row]:
    """What ``originals`` would have said at the prices in ``rates``, one for each of them.

    ``everything`` is all original rows of the run, which have the other meters of a row. On the
    same machine the metered quantities stay as they are; on another one, memory and GPUs are those
    that it has for each allocated core, and a meter that the original did not have is added.
    """
    meters_of: dict[tuple[Any, ...], dict[str, Row]] = {}
    for row in everything:
        meters_of.setdefault(_together(row), {})[row["SkuMeter"]] = row
    for original, rate in zip(originals, rates, strict=True):
        meters = meters_of[_together(original)]
        core_s = _core_s(meters.get("Core", original))
        yield from _restated(original, original["SkuMeter"], rate, core_s, revision)
        if original["SkuMeter"] == "Core":
            bare = original | dict.fromkeys([*AMOUNTS, "x_EnergyMethod", "x_IntensitySource"])
            bare |= {"x_SlotMs": original["x_SlotMs"]}
            for meter in (name for name in METERS if name not in meters):
                if rate.instance.per_core(meter):
                    yield from _restated(bare, meter, rate, core_s, revision)


def _restated(
    original: Row, meter: Meter, rate: Rate, core_s: Decimal | None, revision: int
) -> Iterator[Row]:
    """One row for each price that applied in the original's time."""
    for piece, before, after in _pieces(original, rate):
        quantity = _part(_quantity(original, meter, piece.instance, core_s), before, after)
        quality = [original["x_Quality"], None if piece.is_covered else NEAREST]
        about = [original["x_RecordId"], RESTATEMENT, revision, meter, str(piece.start)]
        yield {
            **original,
            **{name: _part(original.get(name), before, after) for name in AMOUNTS},
            **_priced(meter, piece.instance, quantity),
            "x_RecordId": digest(about),
            "x_RecordType": RESTATEMENT,
            "x_Corrects": original["x_RecordId"],
            "x_Revision": revision,
            "ChargePeriodStart": piece.start,
            "ChargePeriodEnd": original["ChargePeriodEnd"] and piece.end,
            "BillingCurrency": rate.currency,
            "x_PriceBookVersion": rate.book_version,
            "x_Quality": "; ".join(filter(None, quality)) or None,
        }


def _priced(meter: Meter, machine: Instance, quantity: Decimal | None) -> Row:
    """What a quantity of a meter costs on a machine."""
    price = machine.unit_price(meter)
    with localcontext(prec=_DIGITS):
        cost = None if quantity is None else (quantity * price).quantize(PLACES)
    return {
        "SkuId": machine.sku,
        "SkuMeter": meter,
        "SkuPriceId": machine.price_id(meter),
        "ConsumedQuantity": quantity,
        "ConsumedUnit": METERS[meter],
        "ListUnitPrice": price,
        "EffectiveCost": cost,
        "PricingCategory": machine.category,
    }


def _pieces(row: Row, rate: Rate) -> list[tuple[Piece, Decimal, Decimal]]:
    """The pieces of a row's time, each with the share of it that is over before and after the piece."""
    start = row["ChargePeriodStart"]
    end = row["ChargePeriodEnd"] or start
    pieces = rate.pieces(start, end)
    whole = (pieces[-1].end - start) // timedelta(microseconds=1)
    with localcontext(prec=_DIGITS):
        over = [
            Decimal((piece.end - start) // timedelta(microseconds=1)) / (whole or 1)
            for piece in pieces
        ]
    over[-1] = Decimal(1)
    return list(zip(pieces, [Decimal(0), *over], over, strict=False))


def _quantity(original: Row, meter: Meter, machine: Instance, core_s: Decimal | None) -> Any:
    """What the meter would have counted on a machine, in the original's whole time."""
    counted = original["ConsumedQuantity"]
    is_as_it_was = meter == "Core" or original["SkuId"] == machine.sku
    if core_s is None or (counted is not None and is_as_it_was):
        return counted
    with localcontext(prec=_DIGITS):
        return (core_s * machine.per_core(meter)).quantize(PLACES)


def _core_s(row: Row) -> Decimal | None:
    """Return allocated core-seconds; None where the row does not state them."""
    if row["SkuMeter"] == "Core" and row["ConsumedQuantity"] is not None:
        return Decimal(row["ConsumedQuantity"])
    return None if row["x_SlotMs"] is None else Decimal(row["x_SlotMs"]) / 1000


def _part(amount: Any, before: Decimal, after: Decimal) -> Any:
    """The part of an amount between two shares of it. Parts that are next to each other sum exactly."""
    if amount is None or after - before == 1:
        return amount
    if isinstance(amount, float):
        return amount * float(after) - amount * float(before)
    with localcontext(prec=_DIGITS):
        step = Decimal(1) if isinstance(amount, int) else PLACES
        part = (amount * after).quantize(step) - (amount * before).quantize(step)
    return int(part) if isinstance(amount, int) else part


def _together(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in _TOGETHER)

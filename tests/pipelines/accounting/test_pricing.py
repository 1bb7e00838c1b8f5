"""Prices that change, or that no book has, while something is held: in the ledger's own rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.pipelines.accounting.energy import Used
from millrace.pipelines.accounting.ledger import Drawn, drawn_of
from millrace.pipelines.accounting.pricing import priced
from millrace.pipelines.accounting.rates import NEAREST, Rate, rate_of
from millrace.schemas.prices import PLACES
from tests.ledgers import book, entry

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
WATTS = {"idle_watts": 40, "full_watts": 140, "power_source": "test"}


def minute(at: float) -> str:
    return (BEGAN + timedelta(minutes=at)).isoformat()


def rate(*spans: tuple[float, float | None], **more: Any) -> Rate:
    """A price for each span of minutes: 1, 2, 3 ... an hour."""
    entries = [
        entry(
            str(place),
            valid_from=minute(since),
            valid_to=None if until is None else minute(until),
            **more,
        )
        for place, (since, until) in enumerate(spans, 1)
    ]
    return rate_of(book(*entries), "m")


def row(minutes: float = 60, *, ms: int = 3_600_000, **more: Any) -> dict[str, Any]:
    return {
        "x_RunId": "r", "x_TaskId": 1, "x_CostKind": "useful", "x_SlotMs": ms, "cores": 1,
        "ChargePeriodStart": BEGAN, "ChargePeriodEnd": BEGAN + timedelta(minutes=minutes),
        "x_Quality": "measured", "x_RowsIn": 10, "used": Used(cpu_s=0.0), **more,
    }  # fmt: skip


def core(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in rows if one["SkuMeter"] == "Core"]


def test_a_price_that_changes_splits_the_time_and_the_energy_and_tells_rows_once() -> None:
    found = core(priced([row()], rate((-60, 15), (15, None), **WATTS)))

    ends = [(one["ChargePeriodStart"], one["ChargePeriodEnd"]) for one in found]
    change = BEGAN + timedelta(minutes=15)
    assert ends == [(BEGAN, change), (change, BEGAN + timedelta(minutes=60))]
    assert [one["x_SlotMs"] for one in found] == [900_000, 2_700_000]
    assert [one["x_EnergyWh"] for one in found] == [2.5, 7.5]
    assert [one["x_RowsIn"] for one in found] == [10, None]
    assert {one["x_Quality"] for one in found} == {"measured"}


def test_time_that_no_price_covers_says_that_the_nearest_applied() -> None:
    found = core(priced([row()], rate((15, 30), (45, None))))

    nearest = f"measured; {NEAREST}"
    assert [one["x_Quality"] for one in found] == [nearest, "measured", nearest, "measured"]
    assert [one["x_SlotMs"] for one in found] == [900_000] * 4
    unit = [one["ListUnitPrice"] for one in found]
    assert unit[0] == unit[1] == unit[2] == unit[3] / 2


def test_a_time_without_an_end_says_so_too() -> None:
    (found,) = core(priced([row(ChargePeriodEnd=None)], rate((15, None))))
    assert found["x_Quality"] == f"measured; {NEAREST}"
    (found,) = core(priced([row(ChargePeriodEnd=None)], rate((-15, None))))
    assert found["x_Quality"] == "measured"


def test_no_row_but_the_cores_has_energy_so_that_sums_are_right() -> None:
    found = priced([row()], rate((-60, None), **WATTS))
    assert [(one["SkuMeter"], one.get("x_EnergyWh")) for one in found] == [
        ("Core", 10), ("Memory", None),
    ]  # fmt: skip


def test_without_a_price_book_nothing_is_known_of_what_was_drawn() -> None:
    found = priced([row()], None)
    assert not any("x_EnergyWh" in one for one in found)


SPANS = st.lists(st.integers(-30, 90), min_size=2, max_size=6, unique=True).map(sorted)


@given(SPANS, st.lists(st.integers(0, 10_000), min_size=1, max_size=5))
def test_whatever_changes_when_ids_differ_and_time_money_and_energy_are_whole(
    edges: list[int], spent_ms: list[int]
) -> None:
    spans = [(since, until) for since, until in zip(edges[::2], edges[1::2], strict=False)]
    prices = rate(*spans, **WATTS)
    rows = [row(ms=ms, x_TaskId=at) for at, ms in enumerate(spent_ms)]

    found = priced(rows, prices)

    assert len({one["x_RecordId"] for one in found}) == len(found)
    cores = core(found)
    assert sum(one["x_SlotMs"] for one in cores) == sum(spent_ms)
    assert sum(one["x_RowsIn"] or 0 for one in cores) == 10 * len(rows)
    drawn = sum(one["x_EnergyWh"] for one in cores)
    assert drawn == pytest.approx(sum(spent_ms) / 3_600_000 * 10, abs=1e-6)
    for one in prices.entries:
        mine = [each for each in cores if each["ListUnitPrice"] == one.core_second]
        held_s = Decimal(sum(each["x_SlotMs"] for each in mine)) / 1000
        spent = sum((each["EffectiveCost"] for each in mine), Decimal(0))
        assert spent == (held_s * one.core_second).quantize(PLACES)


def test_a_total_of_energy_is_not_known_where_a_part_of_it_is_not() -> None:
    known = core(priced([row(), row(x_TaskId=2)], rate((-60, None), **WATTS)))
    known = [{"x_CarbonG": None, **one} for one in known]
    assert drawn_of(known) == Drawn(20, 12, 28, None)
    assert drawn_of([known[0], {**known[1], "x_EnergyWh": None}]).wh is None
    assert drawn_of([known[0], {**known[1], "x_EnergyWh": None, "x_SlotMs": 0}]).wh == 10
    assert drawn_of([]) == Drawn()

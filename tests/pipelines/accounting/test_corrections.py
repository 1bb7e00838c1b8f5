"""Rows that correct rows: plain sums stay right, whatever is corrected and how often."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.pipelines.accounting.corrections import (
    AMOUNTS,
    NAMES,
    Row,
    current,
    restatements,
    retraction,
    root,
)
from millrace.pipelines.accounting.rates import NEAREST, Rate, rate_of
from millrace.schemas.tables import LEDGER
from tests.ledgers import BEGAN, book, charge, entry, whole

OLD = book(entry("0.36")).instances[0]


def total(rows: Iterable[Row], name: str) -> Any:
    return sum((row[name] for row in rows if row[name] is not None), Decimal(0))


def spot(*hours: int) -> Rate:
    """A price that rises at these hours after BEGAN."""
    edges = [BEGAN - timedelta(days=1), *(BEGAN + timedelta(hours=hour) for hour in hours), None]
    entries = [
        entry(str(1 + at), valid_from=start, valid_to=end)
        for at, (start, end) in enumerate(pairwise(edges))
    ]
    return rate_of(book(*entries), "m")


def restated(originals: list[Row], rate: Rate, revision: int = 1) -> list[Row]:
    return list(restatements(originals, [rate] * len(originals), originals, revision))


def cores(rate: Rate, held_ms: int, **more: Any) -> list[Row]:
    """The restated Core rows of one task."""
    found = restated(whole(charge(OLD, 1, held_ms, **more)), rate)
    return [row for row in found if row["SkuMeter"] == "Core"]


originals = st.lists(
    st.builds(
        lambda ms, cpu, size, minutes: {
            "x_SlotMs": ms,
            "x_PyCpuNs": cpu,
            "x_Bytes": size,
            "ChargePeriodEnd": BEGAN + timedelta(minutes=minutes),
        },
        st.integers(0, 10**9),
        st.integers(0, 10**15),
        st.none() | st.integers(0, 10**12),
        st.integers(0, 600),
    ),
    min_size=1,
    max_size=4,
).map(
    lambda found: whole(
        row
        for task, more in enumerate(found)
        for row in charge(OLD, task, more.pop("x_SlotMs"), **more)
    )
)
rates = st.lists(st.integers(1, 9), unique=True, max_size=4).map(lambda hours: spot(*sorted(hours)))


@given(originals)
def test_a_row_and_its_retraction_sum_to_nothing_in_every_amount(rows: list[Row]) -> None:
    back = [retraction(row, 1) for row in rows]
    for name in AMOUNTS:
        assert total([*rows, *back], name) == 0
    assert current([*rows, *back]) == []
    for row, taken in zip(rows, back, strict=True):
        same = [name for name in row if name not in AMOUNTS and not name.startswith("x_R")]
        assert {name: taken[name] for name in same if name != "x_Corrects"} == {
            name: row[name] for name in same if name != "x_Corrects"
        }
        assert taken["x_Corrects"] == row["x_RecordId"]


@given(originals, rates)
def test_a_restatement_keeps_every_amount_but_the_cost_however_the_price_changed(
    rows: list[Row], rate: Rate
) -> None:
    again = restated(rows, rate)
    for name in set(AMOUNTS) - {"EffectiveCost"}:
        for meter in ("Core", "Memory"):
            before = [row for row in rows if row["SkuMeter"] == meter]
            after = [row for row in again if row["SkuMeter"] == meter]
            assert total(after, name) == total(before, name)
    assert {root(row) for row in again} == {row["x_RecordId"] for row in rows}
    ids = [row["x_RecordId"] for row in [*rows, *again]]
    assert len(set(ids)) == len(ids)


@given(originals, rates)
def test_a_restatement_costs_its_quantity_times_the_price_of_its_own_time(
    rows: list[Row], rate: Rate
) -> None:
    for row in restated(rows, rate):
        machine = rate.at(row["ChargePeriodStart"])
        assert row["ListUnitPrice"] == machine.unit_price(row["SkuMeter"])
        exact = row["ConsumedQuantity"] * row["ListUnitPrice"]
        assert abs(row["EffectiveCost"] - exact) <= Decimal("5e-13")
        assert row["x_PriceBookVersion"] == rate.book_version


@given(originals, rates, rates)
def test_the_order_of_repricings_does_not_matter_for_the_last_bill(
    rows: list[Row], first: Rate, second: Rate
) -> None:
    once, then = restated(rows, first), restated(rows, second, 2)
    everything = [
        *rows,
        *(retraction(row, 1) for row in rows),
        *once,
        *(retraction(row, 2) for row in once),
        *then,
    ]
    assert current(everything) == then
    assert total(everything, "EffectiveCost") == total(restated(rows, second), "EffectiveCost")


def test_a_price_that_changed_half_way_splits_the_row_in_two() -> None:
    first, second = cores(spot(1), 3001)
    noon = BEGAN + timedelta(hours=1)
    assert (first["ChargePeriodStart"], first["ChargePeriodEnd"]) == (BEGAN, noon)
    assert (second["ChargePeriodStart"], second["ChargePeriodEnd"]) == (
        noon,
        BEGAN + timedelta(hours=2),
    )
    assert first["x_SlotMs"] + second["x_SlotMs"] == 3001
    assert first["ConsumedQuantity"] == second["ConsumedQuantity"] == Decimal("1.5005")
    assert second["ListUnitPrice"] > first["ListUnitPrice"]


def test_a_row_without_an_end_has_the_price_of_its_start() -> None:
    (row,) = cores(spot(1), 5000, ChargePeriodEnd=None)
    assert (row["x_SlotMs"], row["ChargePeriodEnd"]) == (5000, None)
    assert row["ListUnitPrice"] == spot(1).entries[0].core_second


def test_a_time_without_a_price_has_the_nearest_and_says_so() -> None:
    rate = rate_of(book(entry(valid_from=BEGAN + timedelta(hours=1))), "m")
    early, late = cores(rate, 5000)
    assert early["x_Quality"] == f"measured; {NEAREST}"
    assert late["x_Quality"] == "measured"
    assert early["ListUnitPrice"] == late["ListUnitPrice"]


def test_on_another_machine_memory_is_what_it_has_for_each_core() -> None:
    rate = rate_of(book(entry(sku="big", memory_gb=64)), "big")
    core, memory = restated(whole(charge(OLD, 1, 5000)), rate)
    assert (core["ConsumedQuantity"], core["ConsumedUnit"]) == (5, "Core-Seconds")
    assert (memory["ConsumedQuantity"], memory["ConsumedUnit"]) == (80, "GB-Seconds")


def test_on_a_machine_with_gpus_their_share_is_added_and_the_node_is_paid_in_full() -> None:
    rate = rate_of(book(entry("3600", sku="gpu", gpus=2)), "gpu")
    core, gpu, memory = sorted(
        restated(whole(charge(OLD, 1, 4000)), rate), key=lambda row: row["SkuMeter"]
    )
    assert (gpu["SkuMeter"], gpu["ConsumedQuantity"], gpu["ConsumedUnit"]) == (
        "GPU",
        2,
        "GPU-Seconds",
    )
    assert (gpu["x_SlotMs"], gpu["x_RowsOut"], gpu["x_PyCpuNs"]) == (4000, None, None)
    cost = sum(row["EffectiveCost"] for row in (core, gpu, memory))
    assert cost == pytest.approx(Decimal(1), abs=Decimal("1e-10"))  # 4 core-seconds of 4 cores


def test_on_a_machine_without_gpus_their_row_stays_at_no_cost() -> None:
    old = book(entry("3600", sku="gpu", gpus=2)).instances[0]
    rows = whole(charge(old, 1, 4000, meters=["Core", "Memory", "GPU"]))
    (gpu,) = [row for row in restated(rows, spot()) if row["SkuMeter"] == "GPU"]
    assert (gpu["ConsumedQuantity"], gpu["EffectiveCost"], gpu["x_RowsOut"]) == (0, 0, 97)


def test_a_run_that_was_not_priced_gets_all_its_quantities() -> None:
    core, memory = restated(whole(charge(None, 1, 5000)), spot())
    assert (core["ConsumedQuantity"], memory["ConsumedQuantity"]) == (5, 20)
    assert None not in (core["EffectiveCost"], memory["EffectiveCost"])


def test_every_number_of_the_ledger_is_an_amount_that_sums_or_is_known_not_to() -> None:
    """A column that is added to the ledger lands here: an amount of money needs more than a negation."""
    decimals = {column.name for column in LEDGER.columns if column.type.startswith("decimal")}
    assert decimals == {"ConsumedQuantity", "ListUnitPrice", "EffectiveCost"}
    assert set(AMOUNTS) <= {column.name for column in LEDGER.columns}
    assert set(NAMES) <= {column.name for column in LEDGER.columns}
